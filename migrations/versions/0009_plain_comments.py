"""Comments of tables and columns, in plain words."""

from alembic import op

from etl.loaders.migrate import schemas

revision = "0009"
down_revision = "0008"

# Table: (new comment, old comment).
_DATA_TABLES = {
    "sharing_configurations": (
        "One row per recording or insight that was checked: whether anyone with a link may open it.",
        "One row per recording or insight that was asked about: whether anyone with a link may open it.",
    ),
}
_BOOK_TABLES = {
    "leases": (
        "Which run works on a unit, and until when; renewed while the run works.",
        "Who works on which unit. The heartbeat is here, the fence in checkpoints.",
    ),
    "checkpoints": (
        "Where an unfinished reading of a unit goes on; commits with the rows read so far.",
        "Resume position of each unit; commits with the rows it stands for.",
    ),
    "watermarks": (
        "Which stretches of time are known complete; changes only when a window closes.",
        "How far each stream is known complete; moves only when a window closes.",
    ),
    "suspects": (
        "Stored records that a reading did not show; each is deleted once it is judged.",
        "Stored records that a reading did not show; empty but while one is under way.",
    ),
    "cuts": (
        "Records cut by the dates of a request; their stored rows were left unchanged.",
        "Records that the dates of a request cut; the stored ones stayed as they were.",
    ),
    "checks": (
        "When each resource of a rotation, and each suspect, was last checked.",
        "When each resource of a stream that is read in rotation had its last turn.",
    ),
    "request_blocks": (
        "How long the server's last 429 said to wait, for all processes of this database.",
        "What the server's last 429 said, for all processes that share this database.",
    ),
    "schedules": (
        "The latest tick of each schedule, for all `serve` processes of this database.",
        "Which tick of each schedule was the last, for all `serve` of this database.",
    ),
}
# (Table, column): (new comment, old comment).
_DATA_COLUMNS = {
    ("session_recordings", "_expired_at"): (
        "When the row was found gone at the source after its expiry time.",
        "When the source dropped the row by its own rule.",
    ),
    ("subscriptions", "invite_message"): (
        "Always null in the API's answers.",
        "Always null when it is read.",
    ),
    ("subscriptions", "prompt"): ("Prompt of the generated text.", "Prompt of a text made for it."),
    ("subscriptions", "ai_config"): (
        "How that text is generated, as JSON; text inside is kept as hash and length.",
        "How that text is made, as JSON; of text in it only hash and length.",
    ),
    ("subscriptions", "summary_prompt_guide"): (
        "How the summary is to be written.",
        "How it is to be written.",
    ),
    ("users", "is_email_verified"): (
        "Whether the email address is verified.",
        "Whether it is verified.",
    ),
    ("users", "hedgehog_config"): (
        "The user's hedgehog, as JSON; text other than colour, skin, accessories and direction is kept as hash and length.",
        "The user's hedgehog, as JSON; of text beside colour, skin, accessories and direction only hash and length.",
    ),
    ("group_activity", "entry"): (
        "Hash of time and content, because the log has no key.",
        "A hash of when and what, since the log names no key.",
    ),
    ("group_activity", "item_id"): ("Id of what it was done to.", "Its id."),
    ("group_activity", "unread"): (
        "Whether the key's owner has not read it.",
        "For the key's owner.",
    ),
    ("insights", "dashboard_tiles"): ("Its tiles on these, as JSON.", "Its tiles there, as JSON."),
    ("insights", "refreshing"): (
        "Whether its result is being calculated.",
        "Whether it is being calculated.",
    ),
    ("session_property_definitions", "id"): (
        "The server's id of the property: its name.",
        "The server's id of it, which is its name.",
    ),
    ("session_property_definitions", "is_numerical"): (
        "Whether its values are numbers.",
        "Whether they are numbers.",
    ),
    ("sharing_configurations", "created_at"): (
        "When sharing was first set up; null if never.",
        "When sharing was set up; null: it never was.",
    ),
    ("sharing_configurations", "settings"): (
        "How it is shown, as JSON; text inside is kept as hash and length.",
        "How it is shown, as JSON; of text in it only hash and length.",
    ),
    ("sharing_configurations", "password_required"): (
        "Whether it asks for a password.",
        "Whether it asks a password.",
    ),
    ("share_passwords", "is_active"): (
        "Whether the password is accepted.",
        "Whether it opens anything.",
    ),
}
_BOOK_COLUMNS = {
    ("checkpoints", "fence"): (
        "Number under which a run may commit; each run gets a higher one.",
        "Grows whenever the unit changes hands.",
    ),
    ("checkpoints", "position"): (
        "Place from which an unfinished reading goes on, or null.",
        "Where an unfinished reading goes on; null when none is.",
    ),
    ("watermarks", "tail_until"): (
        "Where the next sync begins; null before the first one ends.",
        "Where sync goes on; null before its first end.",
    ),
    ("watermarks", "swept"): (
        "When each grade of the lookback was last read, by age in s.",
        "When each grade of the lookback was read, by its seconds.",
    ),
    ("runs", "id"): ("Id of the run.", "The run."),
    ("runs", "rejected"): ("Records newly rejected, a count.", "Records newly set aside, a count."),
    ("runs", "waited_s"): (
        "Time waited for the request budget, in seconds.",
        "Waited for the request budget, in seconds.",
    ),
    ("runs", "forecast_requests"): (
        "Requests forecast at the start, a count.",
        "Requests expected beforehand, a count.",
    ),
    ("runs", "forecast_exact"): (
        "True if the forecast is an estimate, false if a lower bound.",
        "Whether that was an estimate, not a lower bound.",
    ),
    ("rejects", "payload"): (
        "The record as received; what Postgres cannot hold is replaced.",
        "The record as received, repaired where it had to be.",
    ),
    ("rejects", "first_seen_at"): ("When it was first rejected.", "When it was first set aside."),
    ("rejects", "last_seen_at"): (
        "When it was last rejected with this content.",
        "When it was last set aside with this content.",
    ),
    ("rejects", "resolved_at"): (
        "When it was loaded after all; null until then.",
        "When it loaded after all; null until then.",
    ),
    ("suspects", "record_key"): (
        "Key of a stored record that the reading did not show.",
        "Key of a stored record that was not seen.",
    ),
    ("cuts", "seen"): (
        "Hash of the cut record as received.",
        "Hash of what the request showed of it.",
    ),
    ("cuts", "owed"): (
        "Whether it must still be asked for by its key.",
        "Whether it is still to be asked for by its key.",
    ),
    ("cuts", "noted_at"): ("When this cut record was first received.", "When this was first seen."),
    ("checks", "record_key"): (
        "Key of the record that was checked.",
        "Key of the record that was asked about.",
    ),
    ("checks", "checked_at"): (
        "When it was last checked; null before the first check.",
        "When it last had its turn; null before the first.",
    ),
    ("checks", "tried_at"): (
        "When a check last failed; the record stays due.",
        "When it was last asked about in vain: it stays due.",
    ),
    ("hosts", "host"): (
        "Address of the source, as POSTHOG_HOST gives it.",
        "Address of the source, as POSTHOG_HOST has it.",
    ),
    ("hosts", "since"): (
        "When a run first read from this address.",
        "When something was first read from there.",
    ),
    ("requests", "at"): ("When it was allowed to be sent.", "When it was allowed to go."),
    ("request_blocks", "blocked_until"): (
        "No request of the class is sent before this.",
        "Until when the server told us to wait.",
    ),
    ("schedules", "name"): (
        "Name of the schedule; `:prune` is the daily cleaning.",
        "Name of the schedule; `:prune` is ours.",
    ),
    ("schedules", "ticked_at"): (
        "The latest tick that was started or skipped.",
        "The latest tick that was taken, or passed over.",
    ),
    ("schedules", "holder"): (
        "The `serve` that works on the tick; null if none does.",
        "The `serve` at work on it; null when it is done.",
    ),
}
_WITH_OBSERVED_AT = (
    "session_recordings",
    "persons",
    "person_distinct_ids",
    "subscriptions",
    "users",
    "group_types",
    "groups",
    "group_property_definitions",
    "group_property_values",
    "group_activity",
    "insights",
    "session_recording_playlists",
    "session_recording_playlist_items",
    "project_secret_api_keys",
    "session_property_definitions",
    "session_property_values",
    "sharing_configurations",
    "share_passwords",
)
_OBSERVED_AT = (
    "When the request for this content was sent.",
    "When the request of this content went out.",
)
_WITH_UNIT = ("leases", "checkpoints", "runs", "suspects")
_UNIT = (
    "`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; `rotation`: some resources at a time; `rejects`: the rejects of the stream.",
    "`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `snapshot`: all of it; `rotation`: some of it in turn; `rejects`: what was set aside.",
)


def upgrade() -> None:
    _comment(0)


def downgrade() -> None:
    _comment(1)


def _comment(which: int) -> None:
    """Write the new comments (0) or the old ones (1)."""
    data, book = schemas(op.get_context())
    observed = {(table, "_observed_at"): _OBSERVED_AT for table in _WITH_OBSERVED_AT}
    units = {(table, "unit"): _UNIT for table in _WITH_UNIT}
    for schema, tables, columns in (
        (data, _DATA_TABLES, _DATA_COLUMNS | observed),
        (book, _BOOK_TABLES, _BOOK_COLUMNS | units),
    ):
        for table, texts in tables.items():
            op.create_table_comment(table, texts[which], schema=schema)
        for (table, column), texts in columns.items():
            op.alter_column(table, column, comment=texts[which], schema=schema)
