"""Queries that are ready to use, switched on by name (`query_presets`).

Facts about tables and columns are of PostHog's source, posthog/hogql/database/schema/*.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from msgspec.structs import replace

from etl.core.lookback import Lookback
from etl.core.query import QuerySpec

_DAY = timedelta(days=1)

# `created_at` is the time of processing, the nearest to arrival that HogQL has, but no index knows
# it: without a bound on `timestamp` the server reads the whole project. So old days are looked
# through seldom.
EVENTS = QuerySpec(
    name="events",
    about="Events, by the time at which PostHog processed them.",
    text="""
SELECT uuid, event, properties, timestamp, created_at, distinct_id, person_id, elements_chain,
  `$session_id`, `$window_id`, person_mode,
  `$group_0`, `$group_1`, `$group_2`, `$group_3`, `$group_4`
FROM events
WHERE timestamp >= toDateTime64({reach}, 6, 'UTC')
""",
    key=("uuid",),
    cursor="created_at",
    settle=timedelta(minutes=10),
    lookback=timedelta(minutes=30),
    reach=Lookback.parse("3d, 30d every 1d, 3650d every 30d"),
    documents=("properties",),
    # An event that was sent twice is there twice until the server merges both.
    later_wins=True,
)

# Without a bound on the start inside of the query the server reads all sessions.
_SESSION = """
SELECT session_id, distinct_id, person_id, `$start_timestamp`, `$end_timestamp`,{arrival}
  `$session_duration`, `$is_bounce`, `$channel_type`, `$pageview_count`, `$autocapture_count`,
  `$screen_count`, `$num_uniq_urls`, `$entry_current_url`, `$end_current_url`
FROM sessions
WHERE `$start_timestamp` >= toDateTime64({bound}, 6, 'UTC')
"""
_SESSIONS_BY_START = QuerySpec(
    name="sessions",
    about="Sessions, by their start: this server does not say when a session changed.",
    text=_SESSION.replace("{arrival}", "").replace("{bound}", "{since}"),
    key=("session_id",),
    cursor="$start_timestamp",
    settle=timedelta(minutes=5),
    # A session goes on for at most a day.
    lookback=2 * _DAY,
)
# Only the third version of the table knows when a row arrived.
SESSIONS = replace(
    _SESSIONS_BY_START,
    about="Sessions, by the arrival of their latest event.",
    text=_SESSION.replace("{arrival}", " max_inserted_at,").replace("{bound}", "{reach}"),
    cursor="max_inserted_at",
    lookback=timedelta(hours=1),
    reach=Lookback.parse("3d, 30d every 1d, 3650d every 30d"),
    others=(_SESSIONS_BY_START,),
)

GROUPS = QuerySpec(
    name="groups_by_query",
    about="Groups, by the arrival of their latest change.",
    text="SELECT index, key, created_at, updated_at, properties FROM groups",
    key=("index", "key"),
    cursor="updated_at",
    documents=("properties",),
)

# Merges and deletions change rows without a time, so these are read as a whole.
PERSON_DISTINCT_IDS = QuerySpec(
    name="person_distinct_ids",
    about="Which person each distinct id belongs to now; a merge changes the person.",
    text="SELECT distinct_id, person_id FROM person_distinct_ids",
    key=("distinct_id",),
    every=_DAY,
)
PERSONS = QuerySpec(
    name="persons_by_query",
    about="All persons, also those without recordings.",
    text="SELECT id AS person_id, created_at, is_identified, properties FROM persons",
    key=("person_id",),
    every=_DAY,
    documents=("properties",),
)
COHORT_PEOPLE = QuerySpec(
    name="cohort_people",
    about="Which persons are in which cohort.",
    # Lists that people uploaded are in a table of their own.
    text="""
SELECT cohort_id, person_id FROM cohort_people
UNION ALL SELECT cohort_id, person_id FROM static_cohort_people
""",
    key=("cohort_id", "person_id"),
    every=_DAY,
)

PRESETS: Mapping[str, QuerySpec] = {
    spec.name: replace(spec, place=f"query_presets ({spec.name})")
    for spec in (EVENTS, SESSIONS, GROUPS, PERSON_DISTINCT_IDS, PERSONS, COHORT_PEOPLE)
}
