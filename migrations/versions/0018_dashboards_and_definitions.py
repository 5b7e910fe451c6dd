"""Dashboards and definitions."""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas
from etl.loaders.statements import quoted

revision = "0018"
down_revision = "0017"


# {data} and {book} in a query stand for the schemas. Each view and its columns have comments.
VIEWS = {
    "publicly_shared_now": (
        "Everything that anyone with a link can open now, as far as it was asked about.",
        {
            "project_id": "PostHog's numeric project id.",
            "resource_type": "recording, insight or dashboard.",
            "resource_id": "Id of the recording, insight or dashboard, as text.",
            "name": "Name of the insight, given or derived, or of the dashboard; of a recording the person's name, else the distinct id.",
            "shared_since": "When sharing was set up, or its link last exchanged.",
            "password_protected": "Whether it asks a password.",
            "passwords": "Active passwords, a count.",
            "created_by_email": "Email of who made the insight or dashboard; null for a recording.",
            "checked_at": "When PostHog was last asked about it.",
        },
        """
        SELECT
            c.project_id,
            c.resource_type,
            c.resource_id,
            coalesce(
                nullif(i.name, ''), nullif(i.derived_name, ''), nullif(d.name, ''),
                nullif(p.name, ''), r.distinct_id
            ) AS name,
            c.created_at AS shared_since,
            coalesce(c.password_required, false) AS password_protected,
            (
                SELECT count(*)
                FROM {data}.share_passwords AS s
                WHERE s.project_id = c.project_id
                    AND s.resource_type = c.resource_type
                    AND s.resource_id = c.resource_id
                    AND s.is_active IS NOT FALSE
                    AND s._deleted_at IS NULL
            ) AS passwords,
            u.email AS created_by_email,
            k.checked_at
        FROM {data}.sharing_configurations AS c
        LEFT JOIN {data}.insights AS i
            ON c.resource_type = 'insight'
            AND i.project_id = c.project_id
            AND i.id::text = c.resource_id
        LEFT JOIN {data}.dashboards AS d
            ON c.resource_type = 'dashboard'
            AND d.project_id = c.project_id
            AND d.id::text = c.resource_id
        LEFT JOIN {data}.users AS u
            ON u.project_id = c.project_id
            AND u.id = coalesce(i.created_by, d.created_by)
        LEFT JOIN {data}.session_recordings AS r
            ON c.resource_type = 'recording'
            AND r.project_id = c.project_id
            AND r.id = c.resource_id
        LEFT JOIN {data}.persons AS p
            ON p.project_id = r.project_id
            AND p.uuid = r.person_uuid
        LEFT JOIN {book}.checks AS k
            ON k.project_id = c.project_id
            AND k.stream = c.resource_type || '_sharing'
            AND k.record_key = c.resource_id
        WHERE c.enabled
            AND c._deleted_at IS NULL
            AND i._deleted_at IS NULL
            AND i.deleted IS NOT TRUE
            AND d._deleted_at IS NULL
            AND d.deleted IS NOT TRUE
            AND r._deleted_at IS NULL
            AND r._expired_at IS NULL
        """,
    ),
    "subscription_schedule": (
        "What is sent to whom, how often and when next; without subscriptions that are deleted or switched off.",
        {
            "project_id": "PostHog's numeric project id.",
            "id": "PostHog's id of the subscription.",
            "title": "Title.",
            "resource_type": "insight or dashboard.",
            "resource_id": "Id of the insight or dashboard.",
            "name": "Name of the insight or dashboard, where it is known.",
            "target_type": "email, slack or webhook.",
            "target_value": "Emails with commas, a Slack channel, or the hash of a webhook's address.",
            "schedule": "How often, in words.",
            "next_delivery_date": "When it is sent next, as last stored: it moves by itself, and that alone is not stored.",
            "until_date": "When it ends.",
            "created_by_email": "Email of who made it.",
        },
        """
        SELECT
            s.project_id,
            s.id,
            s.title,
            CASE
                WHEN s.insight IS NOT NULL THEN 'insight'
                WHEN s.dashboard IS NOT NULL THEN 'dashboard'
            END AS resource_type,
            coalesce(s.insight, s.dashboard) AS resource_id,
            coalesce(
                nullif(s.resource_name, ''), nullif(i.name, ''), nullif(i.derived_name, ''),
                nullif(d.name, '')
            ) AS name,
            s.target_type,
            s.target_value,
            words.every || coalesce(
                CASE
                    WHEN s.bysetpos IS NOT NULL AND words.days IS NOT NULL THEN
                        ' on the ' || words.place || ' ' || words.days
                    WHEN words.days = 'day' THEN ' on every day'
                    ELSE ' on ' || words.days
                END,
                ''
            ) AS schedule,
            s.next_delivery_date,
            s.until_date,
            u.email AS created_by_email
        FROM {data}.subscriptions AS s
        LEFT JOIN {data}.insights AS i
            ON i.project_id = s.project_id
            AND i.id = s.insight
        LEFT JOIN {data}.dashboards AS d
            ON d.project_id = s.project_id
            AND d.id = s.dashboard
        LEFT JOIN {data}.users AS u
            ON u.project_id = s.project_id
            AND u.id = s.created_by
        CROSS JOIN LATERAL (
            SELECT
                CASE s.frequency
                    WHEN 'daily' THEN 'day'
                    WHEN 'weekly' THEN 'week'
                    WHEN 'monthly' THEN 'month'
                    WHEN 'yearly' THEN 'year'
                END AS unit,
                cardinality(s.byweekday) AS days,
                CASE WHEN s.bysetpos IS NULL THEN ' and ' ELSE ' or ' END AS last_and
        ) AS parts
        CROSS JOIN LATERAL (
            SELECT
                CASE
                    WHEN parts.unit IS NULL AND s.interval > 1 THEN
                        s.frequency || ', every ' || s.interval
                    WHEN parts.unit IS NULL THEN s.frequency
                    WHEN s.interval > 1 THEN 'every ' || s.interval || ' ' || parts.unit || 's'
                    ELSE 'every ' || parts.unit
                END AS every,
                CASE
                    WHEN parts.days >= 7 THEN 'day'
                    WHEN parts.days > 1 THEN
                        initcap(array_to_string(s.byweekday[:parts.days - 1], ', '))
                        || parts.last_and || initcap(s.byweekday[parts.days])
                    WHEN parts.days = 1 THEN initcap(s.byweekday[1])
                END AS days,
                CASE
                    WHEN s.bysetpos = -1 THEN 'last'
                    WHEN s.bysetpos BETWEEN 1 AND 4 THEN
                        (ARRAY['first', 'second', 'third', 'fourth'])[s.bysetpos::integer]
                    ELSE s.bysetpos || 'th'
                END AS place
        ) AS words
        WHERE s._deleted_at IS NULL
            AND s.deleted IS NOT TRUE
            AND s.enabled IS NOT FALSE
        """,
    ),
    "dashboard_insights": (
        "Which insights are on which dashboard, as the insights say; one row per dashboard and insight.",
        {
            "project_id": "PostHog's numeric project id.",
            "dashboard_id": "Id of the dashboard.",
            "dashboard_name": "Name of the dashboard, where it is known.",
            "insight_id": "PostHog's id of the insight.",
            "insight_short_id": "Short id of the insight, as addresses have it.",
            "insight_name": "Name of the insight, given or derived.",
            "tile_id": "PostHog's id of the tile; null where the server does not show tiles.",
            "deleted": "Whether a user took the insight off the dashboard.",
        },
        """
        SELECT
            i.project_id,
            tile.dashboard_id,
            nullif(d.name, '') AS dashboard_name,
            i.id AS insight_id,
            i.short_id AS insight_short_id,
            coalesce(nullif(i.name, ''), nullif(i.derived_name, '')) AS insight_name,
            tile.tile_id,
            tile.deleted
        FROM {data}.insights AS i
        CROSS JOIN LATERAL (
            SELECT
                named.dashboard_id,
                min(named.tile_id) AS tile_id,
                bool_and(named.deleted) AS deleted
            FROM jsonb_array_elements(
                CASE
                    WHEN jsonb_typeof(i.dashboard_tiles) = 'array' THEN i.dashboard_tiles
                    WHEN jsonb_typeof(i.dashboards) = 'array' THEN i.dashboards
                    ELSE '[]'
                END
            ) AS each (value)
            CROSS JOIN LATERAL (
                SELECT
                    CASE
                        WHEN each.value ->> 'dashboard_id' ~ '^[0-9]{{1,18}}$'
                            THEN (each.value ->> 'dashboard_id')::bigint
                        WHEN each.value #>> ARRAY[]::text[] ~ '^[0-9]{{1,18}}$'
                            THEN (each.value #>> ARRAY[]::text[])::bigint
                    END AS dashboard_id,
                    CASE
                        WHEN each.value ->> 'id' ~ '^[0-9]{{1,18}}$'
                            THEN (each.value ->> 'id')::bigint
                    END AS tile_id,
                    coalesce(each.value ->> 'deleted' = 'true', false) AS deleted
            ) AS named
            WHERE named.dashboard_id IS NOT NULL
            GROUP BY named.dashboard_id
        ) AS tile
        LEFT JOIN {data}.dashboards AS d
            ON d.project_id = i.project_id
            AND d.id = tile.dashboard_id
        WHERE i._deleted_at IS NULL
            AND i.deleted IS NOT TRUE
            AND d._deleted_at IS NULL
            AND d.deleted IS NOT TRUE
        """,
    ),
}
# The first two as they were, for the way back.
_BEFORE = ("publicly_shared_now", "subscription_schedule")


def _create_view(name: str, said: tuple[str, dict[str, str], str], data: str, book: str) -> None:
    about, columns, query = said
    view = f"{quoted(data)}.{quoted(name)}"
    statements = [
        f"CREATE OR REPLACE VIEW {view} AS {query.format(data=quoted(data), book=quoted(book))}",
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
        "dashboard_collaborators",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "dashboard_id",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the dashboard, see dashboards.",
        ),
        sa.Column(
            "id", sa.Uuid(as_uuid=False), nullable=False, comment="PostHog's id of the permission."
        ),
        sa.Column("user", sa.BigInteger(), nullable=True, comment="Id of the user, see users."),
        sa.Column(
            "level",
            sa.BigInteger(),
            nullable=True,
            comment="What the user may do: 21 view, 37 edit.",
        ),
        sa.Column(
            "added_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the user was added.",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the level was last changed.",
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
            "project_id", "dashboard_id", "id", name="dashboard_collaborators_pkey"
        ),
        schema=data,
        comment="One row per dashboard and user who was allowed to edit it. PostHog shows active users only, so a user who was deactivated looks removed and is marked in _deleted_at.",
    )
    op.create_table(
        "dashboards",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the dashboard."),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column("description", sa.Text(), nullable=True, comment="Description."),
        sa.Column(
            "pinned", sa.Boolean(), nullable=True, comment="Whether it comes first in the list."
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=True, comment="When it was made."
        ),
        sa.Column(
            "created_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who made it, see users.",
        ),
        sa.Column(
            "is_shared",
            sa.Boolean(),
            nullable=True,
            comment="Whether anyone with a link may open it, see sharing_configurations.",
        ),
        sa.Column("deleted", sa.Boolean(), nullable=True, comment="Whether a user deleted it."),
        sa.Column(
            "creation_mode",
            sa.Text(),
            nullable=True,
            comment="How it was made: default, template, duplicate or unlisted. The app does not list unlisted ones.",
        ),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True, comment="Tags."),
        sa.Column(
            "restriction_level",
            sa.BigInteger(),
            nullable=True,
            comment="Who may edit it: 21 everyone in the project, 37 only collaborators.",
        ),
        sa.Column(
            "access_control_version",
            sa.Text(),
            nullable=True,
            comment="Which kind of access control it has: v1 or v2.",
        ),
        sa.Column(
            "folder", sa.Text(), nullable=True, comment="Folder that it is in; empty: the topmost."
        ),
        sa.Column("team_id", sa.BigInteger(), nullable=True, comment="Id of its environment."),
        sa.Column(
            "last_accessed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When anyone last opened it.",
        ),
        sa.Column(
            "last_viewed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the key's owner last looked at it.",
        ),
        sa.Column(
            "last_refresh",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When its insights were last calculated.",
        ),
        sa.Column(
            "effective_restriction_level",
            sa.BigInteger(),
            nullable=True,
            comment="The restriction that applies in the end.",
        ),
        sa.Column(
            "effective_privilege_level",
            sa.BigInteger(),
            nullable=True,
            comment="What the key's owner may do, by collaboration: 21 view, 37 edit.",
        ),
        sa.Column(
            "user_access_level", sa.Text(), nullable=True, comment="What the key's owner may do."
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
        sa.PrimaryKeyConstraint("project_id", "id", name="dashboards_pkey"),
        schema=data,
        comment="One row per dashboard, also the unlisted ones; see the view dashboard_insights for what is on it.",
    )
    op.create_table(
        "event_definitions",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "id", sa.Uuid(as_uuid=False), nullable=False, comment="PostHog's id of the definition."
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Name of the event."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When PostHog first saw the event; null if never.",
        ),
        sa.Column(
            "last_seen_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When PostHog last saw the event.",
        ),
        sa.Column("description", sa.Text(), nullable=True, comment="Description."),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True, comment="Tags."),
        sa.Column("verified", sa.Boolean(), nullable=True, comment="Whether a user confirmed it."),
        sa.Column(
            "verified_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was confirmed.",
        ),
        sa.Column(
            "verified_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who confirmed it, see users.",
        ),
        sa.Column("hidden", sa.Boolean(), nullable=True, comment="Whether the app hides it."),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a user last changed it.",
        ),
        sa.Column(
            "updated_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who last changed it, see users.",
        ),
        sa.Column(
            "owner",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who looks after it, see users.",
        ),
        sa.Column(
            "last_updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the definition last changed, also by itself.",
        ),
        sa.Column(
            "default_columns",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Columns that the app shows for it.",
        ),
        sa.Column(
            "primary_property",
            sa.Text(),
            nullable=True,
            comment="Property that the app shows next to its name.",
        ),
        sa.Column(
            "enforcement_mode",
            sa.Text(),
            nullable=True,
            comment="What PostHog does with events that do not fit it.",
        ),
        sa.Column("is_action", sa.Boolean(), nullable=True, comment="Whether it is an action."),
        sa.Column("action_id", sa.BigInteger(), nullable=True, comment="Id of the action."),
        sa.Column(
            "created_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who made the action, see users.",
        ),
        sa.Column(
            "post_to_slack", sa.Boolean(), nullable=True, comment="Whether it is sent to Slack."
        ),
        sa.Column(
            "is_calculating",
            sa.Boolean(),
            nullable=True,
            comment="Whether the action is being calculated.",
        ),
        sa.Column(
            "last_calculated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the action was last calculated.",
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
        sa.PrimaryKeyConstraint("project_id", "id", name="event_definitions_pkey"),
        schema=data,
        comment="One row per name of an event, also hidden ones. Deleted for good when a user deletes it; PostHog makes another row when it sees the event again.",
    )
    op.create_table(
        "property_definitions",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "type",
            sa.Text(),
            nullable=False,
            comment="Whose property it is: event, person, group or session.",
        ),
        sa.Column(
            "group_type_index",
            sa.BigInteger(),
            nullable=False,
            comment="Index of the group type, see group_types; -1 for other types. Properties that PostHog computes are shown for all five indices, whether or not there is such a type.",
        ),
        sa.Column(
            "id",
            sa.Text(),
            nullable=False,
            comment="PostHog's id: a UUID, or $builtin_ and the name if computed.",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Name of the property."),
        sa.Column(
            "property_type",
            sa.Text(),
            nullable=True,
            comment="Type of its values, such as String or DateTime.",
        ),
        sa.Column(
            "is_numerical", sa.Boolean(), nullable=True, comment="Whether its values are numbers."
        ),
        sa.Column("description", sa.Text(), nullable=True, comment="Description."),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True, comment="Tags."),
        sa.Column("verified", sa.Boolean(), nullable=True, comment="Whether a user confirmed it."),
        sa.Column(
            "verified_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was confirmed.",
        ),
        sa.Column(
            "verified_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who confirmed it, see users.",
        ),
        sa.Column("hidden", sa.Boolean(), nullable=True, comment="Whether the app hides it."),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a user last changed it.",
        ),
        sa.Column(
            "updated_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who last changed it, see users.",
        ),
        sa.Column("virtual", sa.Boolean(), nullable=True, comment="True if PostHog computes it."),
        sa.Column(
            "is_seen_on_filtered_events",
            sa.Boolean(),
            nullable=True,
            comment="Always null in this list.",
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
            "project_id", "type", "group_type_index", "id", name="property_definitions_pkey"
        ),
        schema=data,
        comment="One row per property of events, persons, groups or sessions, also hidden ones. PostHog leaves out a few event properties such as $set, and adds properties that it computes.",
    )
    op.alter_column(
        "share_passwords",
        "resource_type",
        existing_type=sa.TEXT(),
        comment="recording, insight or dashboard.",
        existing_comment="recording or insight.",
        existing_nullable=False,
        schema=data,
    )
    op.alter_column(
        "share_passwords",
        "resource_id",
        existing_type=sa.TEXT(),
        comment="Id of the recording, insight or dashboard, as text.",
        existing_comment="Id of the recording or insight, as text.",
        existing_nullable=False,
        schema=data,
    )
    op.create_table_comment(
        "share_passwords",
        "One row per active password of what is shared; never the password.",
        existing_comment="One row per active password of a shared recording or insight; never the password.",
        schema=data,
    )
    op.alter_column(
        "sharing_configurations",
        "resource_type",
        existing_type=sa.TEXT(),
        comment="recording, insight or dashboard.",
        existing_comment="recording or insight.",
        existing_nullable=False,
        schema=data,
    )
    op.alter_column(
        "sharing_configurations",
        "resource_id",
        existing_type=sa.TEXT(),
        comment="Id of the recording, insight or dashboard, as text.",
        existing_comment="Id of the recording or insight, as text.",
        existing_nullable=False,
        schema=data,
    )
    op.create_table_comment(
        "sharing_configurations",
        "One row per recording, insight or dashboard that was checked: whether anyone with a link may open it.",
        existing_comment="One row per recording or insight that was checked: whether anyone with a link may open it.",
        schema=data,
    )
    for name, said in VIEWS.items():
        _create_view(name, said, data, book)


def downgrade() -> None:
    data, book = schemas(op.get_context())
    before = runpy.run_path(str(Path(__file__).with_name("0003_every_stream.py")))["VIEWS"]
    for name in _BEFORE:
        _create_view(name, before[name], data, book)
    op.get_bind().exec_driver_sql(f"DROP VIEW {quoted(data)}.dashboard_insights")
    op.create_table_comment(
        "sharing_configurations",
        "One row per recording or insight that was checked: whether anyone with a link may open it.",
        existing_comment="One row per recording, insight or dashboard that was checked: whether anyone with a link may open it.",
        schema=data,
    )
    op.alter_column(
        "sharing_configurations",
        "resource_id",
        existing_type=sa.TEXT(),
        comment="Id of the recording or insight, as text.",
        existing_comment="Id of the recording, insight or dashboard, as text.",
        existing_nullable=False,
        schema=data,
    )
    op.alter_column(
        "sharing_configurations",
        "resource_type",
        existing_type=sa.TEXT(),
        comment="recording or insight.",
        existing_comment="recording, insight or dashboard.",
        existing_nullable=False,
        schema=data,
    )
    op.create_table_comment(
        "share_passwords",
        "One row per active password of a shared recording or insight; never the password.",
        existing_comment="One row per active password of what is shared; never the password.",
        schema=data,
    )
    op.alter_column(
        "share_passwords",
        "resource_id",
        existing_type=sa.TEXT(),
        comment="Id of the recording or insight, as text.",
        existing_comment="Id of the recording, insight or dashboard, as text.",
        existing_nullable=False,
        schema=data,
    )
    op.alter_column(
        "share_passwords",
        "resource_type",
        existing_type=sa.TEXT(),
        comment="recording or insight.",
        existing_comment="recording, insight or dashboard.",
        existing_nullable=False,
        schema=data,
    )
    op.drop_table("property_definitions", schema=data)
    op.drop_table("event_definitions", schema=data)
    op.drop_table("dashboards", schema=data)
    op.drop_table("dashboard_collaborators", schema=data)
