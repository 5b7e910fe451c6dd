"""The project itself, members, activity log and deliveries; who did what."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas
from etl.loaders.statements import quoted

revision = "0020"
down_revision = "0019"

# Each view: its comment, the comments of its columns, and its query.
VIEWS = {
    "who_did_what": (
        "What was done in a project: when, by whom, and to what. Filled by activity_log.",
        {
            "project_id": "PostHog's numeric project id.",
            "id": "Id of the entry, see activity_log.",
            "done_at": "When it was done.",
            "done_by": "The user's name, else the email address, else the id; PostHog: by itself.",
            "email": "The user's email address; null if no user did it.",
            "by_whom": "user; employee: somebody at PostHog, in the user's name; system: PostHog.",
            "activity": "What was done, such as created, updated or deleted.",
            "scope": "The kind of thing that it was done to, such as FeatureFlag.",
            "item_name": "Name of this thing, as it was then.",
            "item_id": "Its id.",
            "changed": "Names of the fields that were changed, in order; null if none is named.",
        },
        """
        SELECT
            a.project_id,
            a.id,
            a.created_at AS done_at,
            CASE
                WHEN a."user" IS NULL THEN 'PostHog'
                ELSE coalesce(
                    nullif(btrim(concat_ws(' ', u.first_name, u.last_name)), ''),
                    nullif(u.email, ''),
                    a."user"::text
                )
            END AS done_by,
            u.email,
            CASE
                WHEN a.was_impersonated THEN 'employee'
                WHEN a."user" IS NULL OR a.is_system THEN 'system'
                ELSE 'user'
            END AS by_whom,
            a.activity,
            a.scope,
            nullif(a.detail ->> 'name', '') AS item_name,
            a.item_id,
            c.changed
        FROM {data}.activity_log AS a
        LEFT JOIN {data}.users AS u
            ON u.project_id = a.project_id
            AND u.id = a."user"
        LEFT JOIN LATERAL (
            SELECT array_agg(DISTINCT each ->> 'field' ORDER BY each ->> 'field') AS changed
            FROM jsonb_path_query(a.detail, 'lax $.changes[*]') AS each
            WHERE each ->> 'field' IS NOT NULL
        ) AS c ON true
        WHERE a._deleted_at IS NULL
        """,
    ),
}


def _create_view(name: str, data: str) -> None:
    about, columns, query = VIEWS[name]
    view = f"{quoted(data)}.{quoted(name)}"
    statements = [
        f"CREATE VIEW {view} AS {query.format(data=quoted(data))}",
        f"COMMENT ON VIEW {view} IS {_literal(about)}",
        *(
            f"COMMENT ON COLUMN {view}.{quoted(column)} IS {_literal(comment)}"
            for column, comment in columns.items()
        ),
    ]
    for statement in statements:
        # `op.execute` would read a colon in a schema's name as a parameter.
        op.get_bind().exec_driver_sql(statement)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def upgrade() -> None:
    data, book = schemas(op.get_context())
    op.create_table(
        "activity_log",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "id", sa.Uuid(as_uuid=False), nullable=False, comment="PostHog's id of the entry."
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=True, comment="When it was done."
        ),
        sa.Column(
            "user",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who did it, see users; null: the system.",
        ),
        sa.Column(
            "activity",
            sa.Text(),
            nullable=True,
            comment="What was done, such as created, updated or deleted.",
        ),
        sa.Column(
            "scope",
            sa.Text(),
            nullable=True,
            comment="The kind of thing that it was done to, such as FeatureFlag.",
        ),
        sa.Column(
            "item_id",
            sa.Text(),
            nullable=True,
            comment="Id of this thing; of a person the numeric one, which `forget` does not look for.",
        ),
        sa.Column(
            "detail",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Name of the thing and what changed, as JSON; other text, such as values before and after, is kept as hash and length.",
        ),
        sa.Column(
            "organization_id",
            sa.Uuid(as_uuid=False),
            nullable=True,
            comment="Id of the organization.",
        ),
        sa.Column(
            "was_impersonated",
            sa.Boolean(),
            nullable=True,
            comment="Whether an employee of PostHog did it in the user's name.",
        ),
        sa.Column(
            "is_system", sa.Boolean(), nullable=True, comment="Whether PostHog did it by itself."
        ),
        sa.Column(
            "unread",
            sa.Boolean(),
            nullable=True,
            comment="Whether the key's owner has not read it.",
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
            comment="When the request for this content was sent.",
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
        sa.PrimaryKeyConstraint("project_id", "id", name="activity_log_pkey"),
        schema=data,
        comment="What was done in the project; one row per entry of the activity log.",
    )
    op.create_index(
        "activity_log_by_time",
        "activity_log",
        ["project_id", "created_at"],
        unique=False,
        schema=data,
    )
    op.create_table(
        "organization_members",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "organization",
            sa.Uuid(as_uuid=False),
            nullable=False,
            comment="Id of the organization, see projects.",
        ),
        sa.Column(
            "id", sa.Uuid(as_uuid=False), nullable=False, comment="PostHog's id of the membership."
        ),
        sa.Column("user", sa.BigInteger(), nullable=True, comment="Id of the user, see users."),
        sa.Column(
            "level",
            sa.BigInteger(),
            nullable=True,
            comment="1 is a member, 8 an administrator, 15 an owner.",
        ),
        sa.Column(
            "joined_at", sa.DateTime(timezone=True), nullable=True, comment="When the user joined."
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the membership was last changed.",
        ),
        sa.Column(
            "is_2fa_enabled",
            sa.Boolean(),
            nullable=True,
            comment="Whether the user logs in with a second factor.",
        ),
        sa.Column(
            "has_social_auth",
            sa.Boolean(),
            nullable=True,
            comment="Whether the user logs in by another service.",
        ),
        sa.Column(
            "last_login",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the user last logged in; only as fresh as _updated_at.",
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
            comment="When the request for this content was sent.",
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
        sa.PrimaryKeyConstraint(
            "project_id", "organization", "id", name="organization_members_pkey"
        ),
        schema=data,
        comment="One row per member of the project's organization.",
    )
    op.create_table(
        "projects",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the project."),
        sa.Column("uuid", sa.Uuid(as_uuid=False), nullable=True, comment="Its uuid."),
        sa.Column(
            "organization",
            sa.Uuid(as_uuid=False),
            nullable=True,
            comment="Id of the organization that it belongs to.",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column(
            "timezone",
            sa.Text(),
            nullable=True,
            comment="Time zone in which PostHog shows instants.",
        ),
        sa.Column("is_demo", sa.Boolean(), nullable=True, comment="Whether its data is made up."),
        sa.Column(
            "ingested_event",
            sa.Boolean(),
            nullable=True,
            comment="Whether it ever received an event.",
        ),
        sa.Column(
            "completed_snippet_onboarding",
            sa.Boolean(),
            nullable=True,
            comment="Whether a user said that the snippet is installed.",
        ),
        sa.Column(
            "has_completed_onboarding_for",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Products whose introduction was completed, as JSON.",
        ),
        sa.Column(
            "access_control",
            sa.Boolean(),
            nullable=True,
            comment="Whether only some members may see it.",
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
            comment="When the request for this content was sent.",
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
        sa.PrimaryKeyConstraint("project_id", "id", name="projects_pkey"),
        schema=data,
        comment="The project itself: one row, without its tokens.",
    )
    op.create_table(
        "subscription_deliveries",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "subscription", sa.BigInteger(), nullable=False, comment="Id of the subscription."
        ),
        sa.Column(
            "id", sa.Uuid(as_uuid=False), nullable=False, comment="PostHog's id of the delivery."
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=True, comment="When it was begun."
        ),
        sa.Column(
            "trigger_type", sa.Text(), nullable=True, comment="scheduled, manual or target_change."
        ),
        sa.Column(
            "scheduled_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was due, if it was scheduled.",
        ),
        sa.Column("target_type", sa.Text(), nullable=True, comment="email, slack or webhook."),
        sa.Column(
            "status", sa.Text(), nullable=True, comment="starting, completed, failed or skipped."
        ),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it ended; null while it may still change.",
        ),
        sa.Column(
            "last_updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it last changed.",
        ),
        sa.Column(
            "exported_asset_ids",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Ids of the images that were made, as JSON.",
        ),
        sa.Column(
            "error",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Why it failed, as JSON; text other than type and code is kept as hash and length.",
        ),
        sa.Column("temporal_workflow_id", sa.Text(), nullable=True, comment="Id of PostHog's job."),
        sa.Column(
            "idempotency_key",
            sa.Text(),
            nullable=True,
            comment="What keeps it from being sent twice.",
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
            comment="When the request for this content was sent.",
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
        sa.PrimaryKeyConstraint(
            "project_id", "subscription", "id", name="subscription_deliveries_pkey"
        ),
        schema=data,
        comment="One row per delivery of a subscription; not what was sent, nor to whom.",
    )
    op.create_table(
        "growing_lists",
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
            "parent",
            sa.Text(),
            nullable=False,
            comment="Key of the row that the list belongs to; empty if the stream has one list.",
        ),
        sa.Column(
            "read_until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Every row that was added before this instant is stored.",
        ),
        sa.Column(
            "page_rows",
            sa.BigInteger(),
            nullable=False,
            comment="The most rows that one answer had, a count.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "parent", name="growing_lists_pkey"),
        schema=book,
        comment="How far each list that only grows was read; a sync goes on from there.",
    )
    for view in VIEWS:
        _create_view(view, data)


def downgrade() -> None:
    data, book = schemas(op.get_context())
    for view in VIEWS:
        op.get_bind().exec_driver_sql(f"DROP VIEW {quoted(data)}.{quoted(view)}")
    op.drop_table("growing_lists", schema=book)
    op.drop_table("subscription_deliveries", schema=data)
    op.drop_table("projects", schema=data)
    op.drop_table("organization_members", schema=data)
    op.drop_index("activity_log_by_time", table_name="activity_log", schema=data)
    op.drop_table("activity_log", schema=data)
