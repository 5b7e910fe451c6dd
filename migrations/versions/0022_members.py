"""Who is in cohorts, and who was seen with groups."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas
from etl.loaders.statements import literal, quoted

revision = "0022"
down_revision = "0021"


# {data} in a query stands for the schema. Each view and its columns have comments.
VIEWS = {
    "people_overview": (
        "Persons that are not deleted, what recordings show of them, and their cohorts.",
        {
            "project_id": "PostHog's numeric project id.",
            "uuid": "The person's uuid.",
            "name": "Display name.",
            "email": "Email from the person's properties, if there is one.",
            "recordings": "Recordings that are neither deleted nor expired, a count.",
            "first_seen": "Start of the first of these.",
            "last_seen": "End of the last of these.",
            "cohorts": "Names of the cohorts that the person is in, in order; empty if there are none. "
            "Filled by the stream cohort_members, which is off by default.",
        },
        """
        SELECT
            p.project_id,
            p.uuid,
            p.name,
            p.properties ->> 'email' AS email,
            coalesce(r.recordings, 0) AS recordings,
            r.first_seen,
            r.last_seen,
            coalesce(c.cohorts, '{{}}') AS cohorts
        FROM {data}.persons AS p
        LEFT JOIN (
            SELECT
                project_id,
                person_uuid,
                count(*) AS recordings,
                min(start_time) AS first_seen,
                max(coalesce(end_time, start_time)) AS last_seen
            FROM {data}.session_recordings
            WHERE _deleted_at IS NULL AND _expired_at IS NULL
            GROUP BY project_id, person_uuid
        ) AS r
            ON r.project_id = p.project_id
            AND r.person_uuid = p.uuid
        LEFT JOIN (
            SELECT
                m.project_id,
                m.person_uuid,
                array_agg(c.name ORDER BY c.name, c.id) FILTER (WHERE c.name IS NOT NULL) AS cohorts
            FROM {data}.cohort_members AS m
            JOIN {data}.cohorts AS c
                ON c.project_id = m.project_id
                AND c.id = m.cohort_id
                AND c._deleted_at IS NULL
                AND c.deleted IS NOT TRUE
            WHERE m._deleted_at IS NULL
            GROUP BY m.project_id, m.person_uuid
        ) AS c
            ON c.project_id = p.project_id
            AND c.person_uuid = p.uuid
        WHERE p._deleted_at IS NULL
        """,
    ),
}


def _create_view(name: str, data: str) -> None:
    about, columns, query = VIEWS[name]
    view = f"{quoted(data)}.{quoted(name)}"
    statements = [
        f"CREATE OR REPLACE VIEW {view} AS {query.format(data=quoted(data))}",
        f"COMMENT ON VIEW {view} IS {literal(about)}",
        *(
            f"COMMENT ON COLUMN {view}.{quoted(column)} IS {literal(comment)}"
            for column, comment in columns.items()
        ),
    ]
    for statement in statements:
        # `op.execute` would read a colon in a schema's name as a parameter.
        op.get_bind().exec_driver_sql(statement)


def upgrade() -> None:
    data, book = schemas(op.get_context())
    op.create_table(
        "cohort_members",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "cohort_id", sa.BigInteger(), nullable=False, comment="Id of the cohort, see cohorts."
        ),
        sa.Column(
            "person_uuid",
            sa.Uuid(as_uuid=False),
            nullable=False,
            comment="The person's uuid, see persons.",
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
            "project_id", "cohort_id", "person_uuid", name="cohort_members_pkey"
        ),
        schema=data,
        comment="Who is in which cohort, as it was last calculated. A person who is deleted or merged leaves a cohort here with its next calculation.",
    )
    op.create_table(
        "group_related",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "group_type_index",
            sa.BigInteger(),
            nullable=False,
            comment="Index of the group type, see group_types.",
        ),
        sa.Column("group_key", sa.Text(), nullable=False, comment="Key of the group."),
        sa.Column(
            "related_type_index",
            sa.BigInteger(),
            nullable=False,
            comment="Index of the group type of the related group, see group_types; -1: it is a person.",
        ),
        sa.Column(
            "related_id",
            sa.Text(),
            nullable=False,
            comment="Key of the related group, or the person's uuid.",
        ),
        sa.Column(
            "person_uuid",
            sa.Uuid(as_uuid=False),
            nullable=True,
            comment="The person's uuid, see persons; null: it is a group.",
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
            "project_id",
            "group_type_index",
            "group_key",
            "related_type_index",
            "related_id",
            name="group_related_pkey",
        ),
        schema=data,
        comment="Persons and groups of other types that events of the last 90 days show with a group.",
    )
    op.create_table(
        "parent_lists",
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
            "parent", sa.Text(), nullable=False, comment="Key of the row that the lists belong to."
        ),
        sa.Column(
            "state",
            sa.Text(),
            nullable=True,
            comment="What tells whether the lists have changed, as a JSON array, as it was before they were read; null if the source does not say.",
        ),
        sa.Column(
            "pages",
            sa.BigInteger(),
            nullable=True,
            comment="Answers that all of the lists took last, a count.",
        ),
        sa.Column(
            "whole",
            sa.Boolean(),
            nullable=False,
            comment="Whether all of the lists was read in this state.",
        ),
        sa.Column(
            "settled",
            sa.Boolean(),
            nullable=False,
            comment="Whether what they did not show was judged, too. If so, a sync leaves them out as long as the state stays the same.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "parent", name="parent_lists_pkey"),
        schema=book,
        comment="Of lists that each belong to a row: in which state of that row they were read.",
    )
    for name in VIEWS:
        _create_view(name, data)


def downgrade() -> None:
    data, book = schemas(op.get_context())
    for name in VIEWS:
        op.get_bind().exec_driver_sql(f"DROP VIEW {quoted(data)}.{quoted(name)}")
    op.drop_table("parent_lists", schema=book)
    op.drop_table("group_related", schema=data)
    op.drop_table("cohort_members", schema=data)
