"""Recordings, persons and the bookkeeping."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "person_distinct_ids",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("distinct_id", sa.Text(), nullable=False, comment="The distinct id."),
        sa.Column(
            "person_uuid", sa.Uuid(as_uuid=False), nullable=True, comment="The person's uuid."
        ),
        sa.Column(
            "extra",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Fields that the catalogue does not know, as JSON.",
        ),
        sa.Column(
            "_repaired",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Fields in which something that Postgres cannot hold was replaced.",
        ),
        sa.Column(
            "_observed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the request of this content went out.",
        ),
        sa.Column(
            "_first_seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the row was first written here.",
        ),
        sa.Column(
            "_updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the content last changed here.",
        ),
        sa.Column(
            "_xid",
            sa.BigInteger(),
            nullable=False,
            comment="Transaction that last changed the row here.",
        ),
        sa.Column(
            "_deleted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the row was found gone at the source.",
        ),
        sa.PrimaryKeyConstraint("project_id", "distinct_id", name="person_distinct_ids_pkey"),
        schema="posthog",
        comment="Which person a distinct id belongs to, as last seen inside a recording. PostHog lists at most ten ids of a person, so an id that is not here may exist.",
    )
    op.create_table(
        "persons",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("uuid", sa.Uuid(as_uuid=False), nullable=False, comment="The person's uuid."),
        sa.Column(
            "id", sa.BigInteger(), nullable=True, comment="PostHog's numeric id of the person."
        ),
        sa.Column(
            "name",
            sa.Text(),
            nullable=True,
            comment="Display name, as the project's settings choose it.",
        ),
        sa.Column(
            "properties",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Person properties, as JSON.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When PostHog first saw the person.",
        ),
        sa.Column(
            "last_seen_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When PostHog last saw the person; only as fresh as _updated_at.",
        ),
        sa.Column(
            "is_identified",
            sa.Boolean(),
            nullable=True,
            comment="Whether the person is identified.",
        ),
        sa.Column(
            "extra",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Fields that the catalogue does not know, as JSON.",
        ),
        sa.Column(
            "_repaired",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Fields in which something that Postgres cannot hold was replaced.",
        ),
        sa.Column(
            "_observed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the request of this content went out.",
        ),
        sa.Column(
            "_first_seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the row was first written here.",
        ),
        sa.Column(
            "_updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the content last changed here.",
        ),
        sa.Column(
            "_xid",
            sa.BigInteger(),
            nullable=False,
            comment="Transaction that last changed the row here.",
        ),
        sa.Column(
            "_deleted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the row was found gone at the source.",
        ),
        sa.PrimaryKeyConstraint("project_id", "uuid", name="persons_pkey"),
        schema="posthog",
        comment="One row per person that a recording belongs to, as last seen inside a recording.",
    )
    op.create_table(
        "session_recordings",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "id",
            sa.Text(),
            nullable=False,
            comment="Session id: usually UUIDv7 text, but any text up to 200 characters.",
        ),
        sa.Column(
            "distinct_id",
            sa.Text(),
            nullable=True,
            comment="The distinct id that made the recording.",
        ),
        sa.Column(
            "person_uuid",
            sa.Uuid(as_uuid=False),
            nullable=True,
            comment="The person's uuid; null when PostHog knows no person for the distinct id.",
        ),
        sa.Column(
            "start_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Start of the session, by the client's clock.",
        ),
        sa.Column(
            "end_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="End of the session so far, by the client's clock.",
        ),
        sa.Column(
            "recording_duration",
            sa.Double(),
            nullable=True,
            comment="Length of the recording, in seconds.",
        ),
        sa.Column(
            "active_seconds", sa.Double(), nullable=True, comment="Time with activity, in seconds."
        ),
        sa.Column(
            "inactive_seconds",
            sa.Double(),
            nullable=True,
            comment="Time without activity, in seconds.",
        ),
        sa.Column("click_count", sa.BigInteger(), nullable=True, comment="Clicks, a count."),
        sa.Column(
            "keypress_count", sa.BigInteger(), nullable=True, comment="Key presses, a count."
        ),
        sa.Column(
            "mouse_activity_count", sa.BigInteger(), nullable=True, comment="Mouse events, a count."
        ),
        sa.Column(
            "console_log_count",
            sa.BigInteger(),
            nullable=True,
            comment="Console lines of level log, a count.",
        ),
        sa.Column(
            "console_warn_count",
            sa.BigInteger(),
            nullable=True,
            comment="Console lines of level warn, a count.",
        ),
        sa.Column(
            "console_error_count",
            sa.BigInteger(),
            nullable=True,
            comment="Console lines of level error, a count.",
        ),
        sa.Column(
            "start_url",
            sa.Text(),
            nullable=True,
            comment="First URL, cut at 512 characters by PostHog.",
        ),
        sa.Column("activity_score", sa.Double(), nullable=True, comment="Activity from 0 to 100."),
        sa.Column(
            "viewed",
            sa.Boolean(),
            nullable=True,
            comment="Whether the owner of the API key has watched it.",
        ),
        sa.Column(
            "viewers",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Emails of others who watched it.",
        ),
        sa.Column(
            "ongoing",
            sa.Boolean(),
            nullable=True,
            comment="Whether data arrived in the last 5 minutes.",
        ),
        sa.Column("snapshot_source", sa.Text(), nullable=True, comment="web, mobile or unknown."),
        sa.Column("snapshot_library", sa.Text(), nullable=True, comment="Library that recorded."),
        sa.Column(
            "retention_period_days", sa.BigInteger(), nullable=True, comment="Days kept by PostHog."
        ),
        sa.Column(
            "expiry_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When PostHog drops it.",
        ),
        sa.Column(
            "recording_ttl",
            sa.BigInteger(),
            nullable=True,
            comment="Days left until expiry; falls every day, so it is only as fresh as _updated_at.",
        ),
        sa.Column("storage", sa.Text(), nullable=True, comment="Where older servers kept it."),
        sa.Column(
            "external_references",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Linked issues, as JSON.",
        ),
        sa.Column("has_summary", sa.Boolean(), nullable=True, comment="Whether a summary exists."),
        sa.Column(
            "summary_outcome",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Outcome of the summary, as JSON.",
        ),
        sa.Column("total_size", sa.BigInteger(), nullable=True, comment="Size, in bytes."),
        sa.Column("event_count", sa.BigInteger(), nullable=True, comment="Events, a count."),
        sa.Column(
            "matches_filters",
            sa.Boolean(),
            nullable=True,
            comment="Whether it matched the filters of the request that read it.",
        ),
        sa.Column(
            "matching_events",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Old servers only, as JSON.",
        ),
        sa.Column(
            "email", sa.Text(), nullable=True, comment="Old servers only: the person's email."
        ),
        sa.Column(
            "extra",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Fields that the catalogue does not know, as JSON.",
        ),
        sa.Column(
            "_repaired",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Fields in which something that Postgres cannot hold was replaced.",
        ),
        sa.Column(
            "_observed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the request of this content went out.",
        ),
        sa.Column(
            "_first_seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the row was first written here.",
        ),
        sa.Column(
            "_updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the content last changed here.",
        ),
        sa.Column(
            "_xid",
            sa.BigInteger(),
            nullable=False,
            comment="Transaction that last changed the row here.",
        ),
        sa.Column(
            "_deleted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the row was found gone at the source.",
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name="session_recordings_pkey"),
        schema="posthog",
        comment="One row per session recording, as PostHog's list of recordings answers it.",
    )
    op.create_table(
        "checkpoints",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "stream",
            sa.Text(),
            nullable=False,
            comment="Name of the stream, as `posthog-etl streams` lists it.",
        ),
        sa.Column(
            "unit",
            sa.Text(),
            nullable=False,
            comment="`tail`: the moving end that sync follows; `rejects`: what was set aside.",
        ),
        sa.Column(
            "fence",
            sa.BigInteger(),
            nullable=False,
            comment="Grows whenever the unit changes hands.",
        ),
        sa.Column(
            "batch",
            sa.BigInteger(),
            nullable=False,
            comment="Batches committed under this fence, a count.",
        ),
        sa.Column(
            "position",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Where an unfinished reading goes on; null when none is.",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the row last changed.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "unit", name="checkpoints_pkey"),
        schema="posthog_etl",
        comment="Resume position of each unit; commits with the rows it stands for.",
    )
    op.create_table(
        "leases",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "stream",
            sa.Text(),
            nullable=False,
            comment="Name of the stream, as `posthog-etl streams` lists it.",
        ),
        sa.Column(
            "unit",
            sa.Text(),
            nullable=False,
            comment="`tail`: the moving end that sync follows; `rejects`: what was set aside.",
        ),
        sa.Column(
            "holder",
            sa.Uuid(as_uuid=False),
            nullable=True,
            comment="The run that holds the unit; null when free.",
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When another run may take the unit over.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "unit", name="leases_pkey"),
        schema="posthog_etl",
        comment="Who works on which unit. The heartbeat is here, the fence in checkpoints.",
    )
    op.create_table(
        "rejects",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "stream",
            sa.Text(),
            nullable=False,
            comment="Name of the stream, as `posthog-etl streams` lists it.",
        ),
        sa.Column(
            "record_key",
            sa.Text(),
            nullable=False,
            comment="Key of the record, or a hash of its content.",
        ),
        sa.Column(
            "reason", sa.Text(), nullable=False, comment="Why it could not be stored, in one line."
        ),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The record as received, repaired where it had to be.",
        ),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was first set aside.",
        ),
        sa.Column(
            "last_seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was last set aside with this content.",
        ),
        sa.Column(
            "resolved_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it loaded after all; null until then.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "record_key", name="rejects_pkey"),
        schema="posthog_etl",
        comment="Records that could not be stored; `posthog-etl rejects` lists them.",
    )
    op.create_index(
        "rejects_unresolved",
        "rejects",
        ["project_id", "stream", "record_key"],
        unique=False,
        schema="posthog_etl",
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "request_blocks",
        sa.Column("class", sa.Text(), nullable=False, comment="Budget class."),
        sa.Column(
            "blocked_until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Until when the server told us to wait.",
        ),
        sa.PrimaryKeyConstraint("class", name="request_blocks_pkey"),
        schema="posthog_etl",
        comment="What the server's last 429 said, for all processes that share this database.",
    )
    op.create_table(
        "requests",
        sa.Column(
            "class", sa.Text(), nullable=False, comment="Budget class the request drew from."
        ),
        sa.Column(
            "at", sa.DateTime(timezone=True), nullable=False, comment="When it was allowed to go."
        ),
        schema="posthog_etl",
        comment="Requests of the last hour, for all processes that share this database.",
    )
    op.create_index(
        "requests_by_class", "requests", ["class", "at"], unique=False, schema="posthog_etl"
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False, comment="The run."),
        sa.Column("command", sa.Text(), nullable=False, comment="sync or rejects retry."),
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "stream",
            sa.Text(),
            nullable=False,
            comment="Name of the stream, as `posthog-etl streams` lists it.",
        ),
        sa.Column(
            "unit",
            sa.Text(),
            nullable=False,
            comment="`tail`: the moving end that sync follows; `rejects`: what was set aside.",
        ),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="running, succeeded, partial, paused or failed.",
        ),
        sa.Column(
            "reason", sa.Text(), nullable=True, comment="Why it did not succeed, in one line."
        ),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), nullable=False, comment="Start of the run."
        ),
        sa.Column(
            "ended_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="End of the run; null while it runs.",
        ),
        sa.Column(
            "paused_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the budget allows the next request.",
        ),
        sa.Column(
            "records_read", sa.BigInteger(), nullable=False, comment="Records received, a count."
        ),
        sa.Column(
            "rows_inserted",
            sa.BigInteger(),
            nullable=False,
            comment="Rows inserted, a count over all tables.",
        ),
        sa.Column(
            "rows_updated",
            sa.BigInteger(),
            nullable=False,
            comment="Rows changed, a count over all tables.",
        ),
        sa.Column(
            "rejected", sa.BigInteger(), nullable=False, comment="Records newly set aside, a count."
        ),
        sa.Column("requests", sa.BigInteger(), nullable=False, comment="Requests sent, a count."),
        sa.Column(
            "bytes_read", sa.BigInteger(), nullable=False, comment="Size of the answers, in bytes."
        ),
        sa.PrimaryKeyConstraint("id", name="runs_pkey"),
        schema="posthog_etl",
        comment="One row per execution of a unit.",
    )
    op.create_index(
        "runs_by_unit",
        "runs",
        ["project_id", "stream", "unit", "started_at"],
        unique=False,
        schema="posthog_etl",
    )
    op.create_table(
        "watermarks",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "stream",
            sa.Text(),
            nullable=False,
            comment="Name of the stream, as `posthog-etl streams` lists it.",
        ),
        sa.Column(
            "complete_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Lowest instant known complete.",
        ),
        sa.Column(
            "complete_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Highest instant known complete.",
        ),
        sa.Column(
            "traits",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="What the server was found to do, as JSON.",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the row last changed.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", name="watermarks_pkey"),
        schema="posthog_etl",
        comment="How far each stream is known complete; moves only when a window closes.",
    )


def downgrade() -> None:
    op.drop_table("watermarks", schema="posthog_etl")
    op.drop_index("runs_by_unit", table_name="runs", schema="posthog_etl")
    op.drop_table("runs", schema="posthog_etl")
    op.drop_index("requests_by_class", table_name="requests", schema="posthog_etl")
    op.drop_table("requests", schema="posthog_etl")
    op.drop_table("request_blocks", schema="posthog_etl")
    op.drop_index(
        "rejects_unresolved",
        table_name="rejects",
        schema="posthog_etl",
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.drop_table("rejects", schema="posthog_etl")
    op.drop_table("leases", schema="posthog_etl")
    op.drop_table("checkpoints", schema="posthog_etl")
    op.drop_table("session_recordings", schema="posthog")
    op.drop_table("persons", schema="posthog")
    op.drop_table("person_distinct_ids", schema="posthog")
