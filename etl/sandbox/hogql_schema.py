"""The tables of HogQL that the sandbox has: their columns with ClickHouse's types.

Sources: PostHog source, hogql/database/schema (events, persons, groups, sessions_v3,
session_replay_events, system).
"""

from collections.abc import Mapping

Table = Mapping[str, str]
Schema = Mapping[str, Table]

_MICRO, _MILLI, _SECOND = "DateTime64(6, 'UTC')", "DateTime64(3, 'UTC')", "DateTime('UTC')"
_MAYBE = "Nullable(String)"

_EVENTS = {
    "uuid": "UUID",
    "event": "String",
    "properties": "String",
    "timestamp": _MICRO,
    "team_id": "Int64",
    "distinct_id": "String",
    "elements_chain": "String",
    "created_at": _MICRO,
    "$session_id": _MAYBE,
    "$window_id": _MAYBE,
    "person_mode": "String",
    "person_id": "UUID",
    **{f"$group_{n}": "String" for n in range(5)},
}
_PERSONS = {
    "id": "UUID",
    # ClickHouse keeps three digits, Postgres six (PostHog source, models/person/sql.py).
    "created_at": _MILLI,
    "team_id": "Int64",
    "properties": "String",
    "is_identified": "Bool",
    "last_seen_at": f"Nullable({_MILLI})",
}
_MEMBERS = {"person_id": "UUID", "cohort_id": "Int64", "team_id": "Int64"}
_GROUPS = {
    "index": "UInt8",
    "team_id": "Int64",
    "key": "String",
    "created_at": _MILLI,
    # The column _timestamp of the stored table, which has whole seconds.
    "updated_at": _SECOND,
    "properties": "String",
}
_SESSIONS = {
    "session_id": "String",
    "team_id": "Int64",
    "session_timestamp": _MILLI,
    "distinct_id": "String",
    "person_id": "UUID",
    "$start_timestamp": _MICRO,
    "$end_timestamp": _MICRO,
    "max_inserted_at": _MICRO,
    "$urls": "Array(String)",
    "$num_uniq_urls": "UInt64",
    "$entry_current_url": _MAYBE,
    "$entry_pathname": _MAYBE,
    "$entry_hostname": _MAYBE,
    "$entry_referring_domain": _MAYBE,
    "$end_current_url": _MAYBE,
    "$end_pathname": _MAYBE,
    "$end_hostname": _MAYBE,
    "$pageview_count": "UInt64",
    "$autocapture_count": "UInt64",
    "$screen_count": "UInt64",
    "$channel_type": "String",
    "$session_duration": "Int64",
    "$is_bounce": "Nullable(UInt8)",
}
_COUNTS = (
    "click_count", "keypress_count", "mouse_activity_count",
    "console_log_count", "console_warn_count", "console_error_count",
)  # fmt: skip
_REPLAY = {
    "session_id": "String",
    "team_id": "Int64",
    "distinct_id": "String",
    "start_time": _MICRO,
    "end_time": _MICRO,
    "first_url": _MAYBE,
    "all_urls": "Array(String)",
    **dict.fromkeys(_COUNTS, "Int64"),
    "active_milliseconds": "Int64",
    "size": "Int64",
    "event_count": "Int64",
    "message_count": "Int64",
    "snapshot_source": _MAYBE,
    "snapshot_library": _MAYBE,
    "retention_period_days": "Nullable(Int64)",
    "is_deleted": "UInt8",
}
_PIECES = {
    "session_id": "String",
    "team_id": "Int64",
    "distinct_id": "String",
    "min_first_timestamp": _MICRO,
    "max_last_timestamp": _MICRO,
    **dict.fromkeys(_COUNTS, "Int64"),
    "active_milliseconds": "Int64",
    "event_count": "Int64",
    "_timestamp": _SECOND,
    "is_deleted": "UInt8",
}
_STAMPS = {
    "created_at": f"Nullable({_MICRO})",
    "created_by_id": "Nullable(Int64)",
    "last_modified_at": f"Nullable({_MICRO})",
    "last_modified_by_id": "Nullable(Int64)",
}
# Most booleans of these tables are made 0 and 1 (PostHog source, schema/system.py).
_SYSTEM = {
    "system.session_recordings": {
        "id": "UUID",
        "team_id": "Int64",
        "session_id": "String",
        "distinct_id": _MAYBE,
        "duration": "Nullable(Int64)",
        "active_seconds": "Nullable(Int64)",
        "inactive_seconds": "Nullable(Int64)",
        "start_time": f"Nullable({_MICRO})",
        "end_time": f"Nullable({_MICRO})",
        **dict.fromkeys(_COUNTS, "Nullable(Int64)"),
        "start_url": _MAYBE,
        "deleted": "Nullable(UInt8)",
        "created_at": f"Nullable({_MICRO})",
        "retention_period_days": "Nullable(Int64)",
    },
    "system.insights": {
        "id": "Int64",
        "team_id": "Int64",
        "short_id": "String",
        "name": _MAYBE,
        "description": _MAYBE,
        "filters": "String",
        "query": _MAYBE,
        "deleted": "UInt8",
        "saved": "UInt8",
        "favorited": "UInt8",
        **_STAMPS,
        "updated_at": f"Nullable({_MICRO})",
    },
    "system.session_recording_playlists": {
        "id": "Int64",
        "team_id": "Int64",
        "short_id": "String",
        "name": _MAYBE,
        "derived_name": _MAYBE,
        "description": "String",
        "pinned": "UInt8",
        "deleted": "UInt8",
        "filters": "String",
        "type": _MAYBE,
        **_STAMPS,
    },
    "system.cohorts": {
        "id": "Int64",
        "team_id": "Int64",
        "name": _MAYBE,
        "description": "String",
        "deleted": "UInt8",
        "filters": "Nullable(String)",
        "groups": "String",
        "query": _MAYBE,
        "created_at": f"Nullable({_MICRO})",
        "last_calculation": f"Nullable({_MICRO})",
        "version": "Nullable(Int64)",
        "count": "Nullable(Int64)",
        "is_static": "UInt8",
    },
    "system.group_type_mappings": {
        "id": "Int64",
        "team_id": "Int64",
        "group_type": "String",
        "name_singular": _MAYBE,
        "name_plural": _MAYBE,
    },
    "system.teams": {
        "id": "Int64",
        "name": "String",
        "timezone": "String",
        "test_account_filters": "String",
        "created_at": _MICRO,
        "updated_at": _MICRO,
    },
}
TABLES: Schema = {
    "events": _EVENTS,
    "persons": _PERSONS,
    "raw_persons": {**_PERSONS, "is_deleted": "UInt8", "version": "UInt64"},
    "person_distinct_ids": {"distinct_id": "String", "person_id": "UUID", "team_id": "Int64"},
    "cohort_people": _MEMBERS,
    "static_cohort_people": _MEMBERS,
    "groups": _GROUPS,
    "raw_groups": _GROUPS,
    "sessions": _SESSIONS,
    "session_replay_events": _REPLAY,
    "raw_session_replay_events": _PIECES,
    **_SYSTEM,
}
TIME_KEYS: Mapping[str, str] = {
    "events": "timestamp",
    "sessions": "session_timestamp",
    "session_replay_events": "start_time",
    "raw_session_replay_events": "min_first_timestamp",
}
"""The column by which a table is stored: only a bound on it lets a server read less."""


def schema_of(sessions_version: int) -> Schema:
    """The tables of a server whose sessions table has this version: only 3 knows arrivals."""
    if sessions_version == 3:
        return TABLES
    left = {name: kind for name, kind in _SESSIONS.items() if name != "max_inserted_at"}
    return {**TABLES, "sessions": left}
