"""Every stream: all that the API offers besides recordings, and views of it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas
from etl.loaders.statements import quoted

revision = "0003"
down_revision = "0002"

# {data} and {book} in a query stand for the schemas. Each view and its columns have comments.
VIEWS = {
    "publicly_shared_now": (
        "Everything that anyone with a link can open now, as far as it was asked about.",
        {
            "project_id": "PostHog's numeric project id.",
            "resource_type": "recording or insight.",
            "resource_id": "Id of the recording or insight, as text.",
            "name": "Name of the insight, given or derived; of a recording the person's name, else the distinct id.",
            "shared_since": "When sharing was set up, or its link last exchanged.",
            "password_protected": "Whether it asks a password.",
            "passwords": "Active passwords, a count.",
            "created_by_email": "Email of who made the insight; null for a recording.",
            "checked_at": "When PostHog was last asked about it.",
        },
        """
        SELECT
            c.project_id,
            c.resource_type,
            c.resource_id,
            coalesce(
                nullif(i.name, ''), nullif(i.derived_name, ''),
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
        LEFT JOIN {data}.users AS u
            ON u.project_id = i.project_id
            AND u.id = i.created_by
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
                nullif(s.resource_name, ''), nullif(i.name, ''), nullif(i.derived_name, '')
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
    "recording_overview": (
        "One row per recording that is still there, with its person, and where it shows up.",
        {
            "project_id": "PostHog's numeric project id.",
            "id": "Session id.",
            "start_time": "Start of the session, by the client's clock.",
            "distinct_id": "The distinct id that made the recording.",
            "person_name": "Display name of the person; null when PostHog knows none.",
            "person_email": "The person's property email.",
            "recording_duration": "Length of the recording, in seconds.",
            "active_seconds": "Time with activity, in seconds.",
            "inactive_seconds": "Time without activity, in seconds.",
            "click_count": "Clicks, a count.",
            "keypress_count": "Key presses, a count.",
            "mouse_activity_count": "Mouse events, a count.",
            "console_log_count": "Console lines of level log, a count.",
            "console_warn_count": "Console lines of level warn, a count.",
            "console_error_count": "Console lines of level error, a count.",
            "start_url": "First URL, cut at 512 characters by PostHog.",
            "playlists": "Collections it is in, a count.",
            "shared": "Whether anyone with a link can open it; null when that was never asked.",
        },
        """
        SELECT
            r.project_id,
            r.id,
            r.start_time,
            r.distinct_id,
            p.name AS person_name,
            coalesce(p.properties ->> 'email', r.email) AS person_email,
            r.recording_duration,
            r.active_seconds,
            r.inactive_seconds,
            r.click_count,
            r.keypress_count,
            r.mouse_activity_count,
            r.console_log_count,
            r.console_warn_count,
            r.console_error_count,
            r.start_url,
            coalesce(l.playlists, 0) AS playlists,
            c.enabled AS shared
        FROM {data}.session_recordings AS r
        LEFT JOIN {data}.persons AS p
            ON p.project_id = r.project_id
            AND p.uuid = r.person_uuid
        LEFT JOIN (
            SELECT i.project_id, i.recording_id, count(*) AS playlists
            FROM {data}.session_recording_playlist_items AS i
            JOIN {data}.session_recording_playlists AS l USING (project_id, short_id)
            WHERE i._deleted_at IS NULL
                AND l._deleted_at IS NULL
                AND l.deleted IS NOT TRUE
            GROUP BY i.project_id, i.recording_id
        ) AS l
            ON l.project_id = r.project_id
            AND l.recording_id = r.id
        LEFT JOIN {data}.sharing_configurations AS c
            ON c.project_id = r.project_id
            AND c.resource_type = 'recording'
            AND c.resource_id = r.id
            AND c._deleted_at IS NULL
        WHERE r._deleted_at IS NULL
            AND r._expired_at IS NULL
        """,
    ),
}


def _create_view(name: str, data: str, book: str) -> None:
    about, columns, query = VIEWS[name]
    view = f"{quoted(data)}.{quoted(name)}"
    statements = [
        f"CREATE VIEW {view} AS {query.format(data=quoted(data), book=quoted(book))}",
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
        "group_activity",
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
            "entry",
            sa.Text(),
            nullable=False,
            comment="A hash of when and what, since the log names no key.",
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=True, comment="When it was done."
        ),
        sa.Column("activity", sa.Text(), nullable=True, comment="What was done."),
        sa.Column("scope", sa.Text(), nullable=True, comment="What it was done to."),
        sa.Column("item_id", sa.Text(), nullable=True, comment="Its id."),
        sa.Column(
            "detail",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="What changed, as JSON.",
        ),
        sa.Column(
            "user",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Who did it, as JSON.",
        ),
        sa.Column("is_system", sa.Boolean(), nullable=True, comment="Whether PostHog did it."),
        sa.Column("unread", sa.Boolean(), nullable=True, comment="For the key's owner."),
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
        sa.PrimaryKeyConstraint(
            "project_id", "group_type_index", "group_key", "entry", name="group_activity_pkey"
        ),
        schema=data,
        comment="What was done to groups, by whom; one row per entry of the activity log.",
    )
    op.create_table(
        "group_property_definitions",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "group_type_index",
            sa.BigInteger(),
            nullable=False,
            comment="Index of the group type, see group_types.",
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the property."),
        sa.Column("count", sa.BigInteger(), nullable=True, comment="Groups that have it, a count."),
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
        sa.PrimaryKeyConstraint(
            "project_id", "group_type_index", "name", name="group_property_definitions_pkey"
        ),
        schema=data,
        comment="One row per property that groups of a type have.",
    )
    op.create_table(
        "group_property_values",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "group_type_index",
            sa.BigInteger(),
            nullable=False,
            comment="Index of the group type, see group_types.",
        ),
        sa.Column("key", sa.Text(), nullable=False, comment="Name of the property."),
        sa.Column(
            "value",
            sa.Text(),
            nullable=False,
            comment="The value: text as it is, anything else as JSON.",
        ),
        sa.Column("count", sa.BigInteger(), nullable=True, comment="Groups that have it, a count."),
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
        sa.PrimaryKeyConstraint(
            "project_id", "group_type_index", "key", "value", name="group_property_values_pkey"
        ),
        schema=data,
        comment="The values of group properties, as the server lists them: the 20 most frequent ones.",
    )
    op.create_table(
        "group_types",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "group_type_index",
            sa.BigInteger(),
            nullable=False,
            comment="Index of the group type, from 0.",
        ),
        sa.Column(
            "group_type", sa.Text(), nullable=True, comment="Name of the type, as events give it."
        ),
        sa.Column("name_singular", sa.Text(), nullable=True, comment="Name of one, for people."),
        sa.Column("name_plural", sa.Text(), nullable=True, comment="Name of several, for people."),
        sa.Column(
            "detail_dashboard", sa.BigInteger(), nullable=True, comment="Id of its dashboard."
        ),
        sa.Column(
            "default_columns",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Columns shown, as JSON.",
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=True, comment="When it was made."
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
        sa.PrimaryKeyConstraint("project_id", "group_type_index", name="group_types_pkey"),
        schema=data,
        comment="One row per group type of the project, at most five.",
    )
    op.create_table(
        "groups",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "group_type_index",
            sa.BigInteger(),
            nullable=False,
            comment="Index of the group type, see group_types.",
        ),
        sa.Column(
            "group_key", sa.Text(), nullable=False, comment="Key of the group, as events give it."
        ),
        sa.Column(
            "group_properties",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Properties of the group, as JSON.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When PostHog first saw it; can move.",
        ),
        sa.Column("notebook", sa.Text(), nullable=True, comment="Its notebook."),
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
        sa.PrimaryKeyConstraint("project_id", "group_type_index", "group_key", name="groups_pkey"),
        schema=data,
        comment="One row per group.",
    )
    op.create_table(
        "insights",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the insight."),
        sa.Column("short_id", sa.Text(), nullable=True, comment="Short id, as addresses have it."),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column("derived_name", sa.Text(), nullable=True, comment="Name made from the query."),
        sa.Column("description", sa.Text(), nullable=True, comment="Description."),
        sa.Column(
            "query",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The query, as JSON.",
        ),
        sa.Column(
            "filters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The query in its old form, as JSON.",
        ),
        sa.Column(
            "dashboards",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Ids of the dashboards it is on, as JSON.",
        ),
        sa.Column(
            "dashboard_tiles",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Its tiles there, as JSON.",
        ),
        sa.Column("saved", sa.Boolean(), nullable=True, comment="Whether it was saved."),
        sa.Column("favorited", sa.Boolean(), nullable=True, comment="Whether it is a favourite."),
        sa.Column("deleted", sa.Boolean(), nullable=True, comment="Whether a user deleted it."),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True, comment="Tags."),
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
            "last_modified_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a user last changed it.",
        ),
        sa.Column(
            "last_modified_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who last changed it, see users.",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the row last changed at PostHog, also by itself.",
        ),
        sa.Column(
            "last_refresh",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When its result was last calculated.",
        ),
        sa.Column(
            "refreshing", sa.Boolean(), nullable=True, comment="Whether it is being calculated."
        ),
        sa.Column(
            "last_viewed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last looked at.",
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
        sa.PrimaryKeyConstraint("project_id", "id", name="insights_pkey"),
        schema=data,
        comment="One row per insight; their results are not copied.",
    )
    op.create_table(
        "project_secret_api_keys",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.Text(), nullable=False, comment="PostHog's id of the key."),
        sa.Column("label", sa.Text(), nullable=True, comment="Label."),
        sa.Column(
            "mask_value",
            sa.Text(),
            nullable=True,
            comment="First and last characters, as PostHog shows them.",
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
            "last_used_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last used; only as fresh as _updated_at.",
        ),
        sa.Column(
            "last_rolled_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last exchanged for a new one.",
        ),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=True, comment="What it may do."),
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
        sa.PrimaryKeyConstraint("project_id", "id", name="project_secret_api_keys_pkey"),
        schema=data,
        comment="One row per secret API key of the project; never the key itself.",
    )
    op.create_table(
        "session_property_definitions",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the property."),
        sa.Column(
            "id", sa.Text(), nullable=True, comment="The server's id of it, which is its name."
        ),
        sa.Column("property_type", sa.Text(), nullable=True, comment="Type of its values."),
        sa.Column("is_numerical", sa.Boolean(), nullable=True, comment="Whether they are numbers."),
        sa.Column(
            "is_seen_on_filtered_events",
            sa.Boolean(),
            nullable=True,
            comment="Always null in this list.",
        ),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True, comment="Tags."),
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
        sa.PrimaryKeyConstraint("project_id", "name", name="session_property_definitions_pkey"),
        schema=data,
        comment="One row per property that sessions have; the same in every project of a server.",
    )
    op.create_table(
        "session_property_values",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("key", sa.Text(), nullable=False, comment="Name of the property."),
        sa.Column(
            "value",
            sa.Text(),
            nullable=False,
            comment="The value: text as it is, anything else as JSON.",
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
        sa.PrimaryKeyConstraint("project_id", "key", "value", name="session_property_values_pkey"),
        schema=data,
        comment="Values of session properties, as the server lists them.",
    )
    op.create_table(
        "session_recording_playlist_items",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("short_id", sa.Text(), nullable=False, comment="Short id of the playlist."),
        sa.Column(
            "recording_id",
            sa.Text(),
            nullable=False,
            comment="Id of the recording, see session_recordings.",
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
        sa.PrimaryKeyConstraint(
            "project_id", "short_id", "recording_id", name="session_recording_playlist_items_pkey"
        ),
        schema=data,
        comment="Which recordings are in which collection. A saved filter has no items.",
    )
    op.create_table(
        "session_recording_playlists",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("short_id", sa.Text(), nullable=False, comment="Short id, as addresses have it."),
        sa.Column("id", sa.BigInteger(), nullable=True, comment="PostHog's numeric id."),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column("derived_name", sa.Text(), nullable=True, comment="Name made from the filters."),
        sa.Column("description", sa.Text(), nullable=True, comment="Description."),
        sa.Column(
            "type", sa.Text(), nullable=True, comment="collection or filters; null on old servers."
        ),
        sa.Column("pinned", sa.Boolean(), nullable=True, comment="Whether it is pinned."),
        sa.Column("deleted", sa.Boolean(), nullable=True, comment="Whether a user deleted it."),
        sa.Column(
            "filters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The saved filter, as JSON.",
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
            "last_modified_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a user last changed it.",
        ),
        sa.Column(
            "last_modified_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of that user, see users.",
        ),
        sa.Column(
            "recordings_counts",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="How many recordings it has, as JSON; counted now and then.",
        ),
        sa.Column("is_synthetic", sa.Boolean(), nullable=True, comment="Whether PostHog made it."),
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
        sa.PrimaryKeyConstraint("project_id", "short_id", name="session_recording_playlists_pkey"),
        schema=data,
        comment="One row per playlist of recordings: a collection, or a saved filter.",
    )
    op.create_table(
        "share_passwords",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("resource_type", sa.Text(), nullable=False, comment="recording or insight."),
        sa.Column(
            "resource_id",
            sa.Text(),
            nullable=False,
            comment="Id of the recording or insight, as text.",
        ),
        sa.Column("id", sa.Text(), nullable=False, comment="PostHog's id of the password."),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=True, comment="When it was made."
        ),
        sa.Column("note", sa.Text(), nullable=True, comment="Note."),
        sa.Column(
            "created_by_email",
            sa.Text(),
            nullable=True,
            comment="Email of who made it, or deleted user.",
        ),
        sa.Column("is_active", sa.Boolean(), nullable=True, comment="Whether it opens anything."),
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
        sa.PrimaryKeyConstraint(
            "project_id", "resource_type", "resource_id", "id", name="share_passwords_pkey"
        ),
        schema=data,
        comment="One row per active password of a shared recording or insight; never the password.",
    )
    op.create_table(
        "sharing_configurations",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("resource_type", sa.Text(), nullable=False, comment="recording or insight."),
        sa.Column(
            "resource_id",
            sa.Text(),
            nullable=False,
            comment="Id of the recording or insight, as text.",
        ),
        sa.Column("enabled", sa.Boolean(), nullable=True, comment="Whether it is shared."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When sharing was set up; null: it never was.",
        ),
        sa.Column(
            "access_token_sha256",
            sa.Text(),
            nullable=True,
            comment="SHA-256 of the token in the link, in hexadecimal; null where nothing is shared.",
        ),
        sa.Column(
            "settings",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="How it is shown, as JSON.",
        ),
        sa.Column(
            "password_required", sa.Boolean(), nullable=True, comment="Whether it asks a password."
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
        sa.PrimaryKeyConstraint(
            "project_id", "resource_type", "resource_id", name="sharing_configurations_pkey"
        ),
        schema=data,
        comment="One row per recording or insight that was asked about: whether anyone with a link may open it.",
    )
    op.create_table(
        "subscriptions",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "id", sa.BigInteger(), nullable=False, comment="PostHog's id of the subscription."
        ),
        sa.Column(
            "dashboard",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the dashboard that is sent, if it is one.",
        ),
        sa.Column(
            "insight",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the insight that is sent, if it is one.",
        ),
        sa.Column("insight_short_id", sa.Text(), nullable=True, comment="Its short id."),
        sa.Column("resource_name", sa.Text(), nullable=True, comment="Name of what is sent."),
        sa.Column("target_type", sa.Text(), nullable=True, comment="email, slack or webhook."),
        sa.Column(
            "target_value",
            sa.Text(),
            nullable=True,
            comment="Emails with commas, or a Slack channel. A webhook's address is a secret: of it only sha256: and a hash in hexadecimal are kept.",
        ),
        sa.Column(
            "frequency", sa.Text(), nullable=True, comment="daily, weekly, monthly or yearly."
        ),
        sa.Column(
            "interval",
            sa.BigInteger(),
            nullable=True,
            comment="Every so many days, weeks, months or years, a count.",
        ),
        sa.Column(
            "byweekday",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Days of the week, in English, lower case.",
        ),
        sa.Column(
            "bysetpos",
            sa.BigInteger(),
            nullable=True,
            comment="Which of these days in the month; -1 is the last.",
        ),
        sa.Column("count", sa.BigInteger(), nullable=True, comment="How often it is sent at most."),
        sa.Column(
            "start_date",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it begins; also the time of day it is sent.",
        ),
        sa.Column("until_date", sa.DateTime(timezone=True), nullable=True, comment="When it ends."),
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
            "deleted",
            sa.Boolean(),
            nullable=True,
            comment="Whether a user deleted it; it can still be read.",
        ),
        sa.Column("title", sa.Text(), nullable=True, comment="Title."),
        sa.Column(
            "summary",
            sa.Text(),
            nullable=True,
            comment="The schedule in words; made by the server, whose words change with its version.",
        ),
        sa.Column(
            "next_delivery_date",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it is sent next; only as fresh as _updated_at.",
        ),
        sa.Column(
            "invite_message", sa.Text(), nullable=True, comment="Always null when it is read."
        ),
        sa.Column("content_type", sa.Text(), nullable=True, comment="What is sent."),
        sa.Column(
            "dashboard_export_insights",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Ids of the dashboard's insights that are sent, as JSON.",
        ),
        sa.Column("prompt", sa.Text(), nullable=True, comment="Prompt of a text made for it."),
        sa.Column(
            "ai_config",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="How that text is made, as JSON.",
        ),
        sa.Column("enabled", sa.Boolean(), nullable=True, comment="Whether it is sent."),
        sa.Column(
            "integration_id", sa.BigInteger(), nullable=True, comment="Id of the Slack integration."
        ),
        sa.Column(
            "summary_enabled", sa.Boolean(), nullable=True, comment="Whether a summary is sent."
        ),
        sa.Column(
            "summary_prompt_guide", sa.Text(), nullable=True, comment="How it is to be written."
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
        sa.PrimaryKeyConstraint("project_id", "id", name="subscriptions_pkey"),
        schema=data,
        comment="One row per subscription to an insight or a dashboard, also those switched off.",
    )
    op.create_table(
        "users",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "id", sa.BigInteger(), nullable=False, comment="PostHog's numeric id of the user."
        ),
        sa.Column("uuid", sa.Uuid(as_uuid=False), nullable=True, comment="The user's uuid."),
        sa.Column("distinct_id", sa.Text(), nullable=True, comment="The user's own distinct id."),
        sa.Column("first_name", sa.Text(), nullable=True, comment="First name."),
        sa.Column("last_name", sa.Text(), nullable=True, comment="Last name."),
        sa.Column("email", sa.Text(), nullable=True, comment="Email address."),
        sa.Column(
            "is_email_verified", sa.Boolean(), nullable=True, comment="Whether it is verified."
        ),
        sa.Column(
            "hedgehog_config",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The user's hedgehog, as JSON.",
        ),
        sa.Column(
            "role_at_organization", sa.Text(), nullable=True, comment="Role, as the user named it."
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
        sa.PrimaryKeyConstraint("project_id", "id", name="users_pkey"),
        schema=data,
        comment="One row per user of PostHog that another row names, as last seen there.",
    )
    op.create_table(
        "hosts",
        sa.Column(
            "host",
            sa.Text(),
            nullable=False,
            comment="Address of the source, as POSTHOG_HOST has it.",
        ),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When something was first read from there.",
        ),
        sa.PrimaryKeyConstraint("host", name="hosts_pkey"),
        schema=book,
        comment="The source of this deployment: one server, under one address or several.",
    )
    op.create_table(
        "checks",
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
            comment="Key of the record that was asked about.",
        ),
        sa.Column(
            "checked_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was last asked about.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "record_key", name="checks_pkey"),
        schema=book,
        comment="When each resource of a stream that is read in rotation had its last turn.",
    )
    op.alter_column(
        "checkpoints",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `snapshot`: all of it; `rotation`: some of it in turn; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "leases",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `snapshot`: all of it; `rotation`: some of it in turn; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "runs",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `snapshot`: all of it; `rotation`: some of it in turn; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "suspects",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `snapshot`: all of it; `rotation`: some of it in turn; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    for name in VIEWS:
        _create_view(name, data, book)


def downgrade() -> None:
    data, book = schemas(op.get_context())
    for name in VIEWS:
        op.get_bind().exec_driver_sql(f"DROP VIEW {quoted(data)}.{quoted(name)}")
    op.alter_column(
        "suspects",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `snapshot`: all of it; `rotation`: some of it in turn; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "runs",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `snapshot`: all of it; `rotation`: some of it in turn; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "leases",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `snapshot`: all of it; `rotation`: some of it in turn; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "checkpoints",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `snapshot`: all of it; `rotation`: some of it in turn; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.drop_table("checks", schema=book)
    op.drop_table("hosts", schema=book)
    op.drop_table("users", schema=data)
    op.drop_table("subscriptions", schema=data)
    op.drop_table("sharing_configurations", schema=data)
    op.drop_table("share_passwords", schema=data)
    op.drop_table("session_recording_playlists", schema=data)
    op.drop_table("session_recording_playlist_items", schema=data)
    op.drop_table("session_property_values", schema=data)
    op.drop_table("session_property_definitions", schema=data)
    op.drop_table("project_secret_api_keys", schema=data)
    op.drop_table("insights", schema=data)
    op.drop_table("groups", schema=data)
    op.drop_table("group_types", schema=data)
    op.drop_table("group_property_values", schema=data)
    op.drop_table("group_property_definitions", schema=data)
    op.drop_table("group_activity", schema=data)
