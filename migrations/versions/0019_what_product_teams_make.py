"""What product teams make."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas
from etl.loaders.statements import literal, quoted

revision = "0019"
down_revision = "0018"


# {data} in a query stands for the schema. Each view and its columns have comments.
VIEWS = {
    "stale_flags": (
        "Living feature flags, archived ones left out, that nobody changed or used for 90 days. A flag that was never changed or used counts from when it was made. Servers that do not say when a flag was last used are judged by changes alone.",
        {
            "project_id": "PostHog's numeric project id.",
            "id": "PostHog's id of the flag.",
            "key": "Key by which code asks for it.",
            "name": "Description: PostHog calls it name.",
            "active": "Whether it is switched on.",
            "created_at": "When it was made.",
            "updated_at": "When it was last changed.",
            "last_called_at": "When an application last asked for it; up to a day earlier than at PostHog.",
            "created_by_email": "Email of who made it.",
            "days_since": "Days since it was last made, changed or used, a count.",
        },
        """
        SELECT
            f.project_id,
            f.id,
            f.key,
            f.name,
            f.active,
            f.created_at,
            f.updated_at,
            f.last_called_at,
            u.email AS created_by_email,
            floor(extract(epoch FROM now() - last.at) / 86400)::bigint AS days_since
        FROM {data}.feature_flags AS f
        CROSS JOIN LATERAL (
            SELECT greatest(f.created_at, f.updated_at, f.last_called_at) AS at
        ) AS last
        LEFT JOIN {data}.users AS u
            ON u.project_id = f.project_id
            AND u.id = f.created_by
        WHERE f._deleted_at IS NULL
            AND f.deleted IS NOT TRUE
            AND f.archived IS NOT TRUE
            AND last.at < now() - interval '90 days'
        """,
    ),
}


def _create_view(name: str, data: str) -> None:
    about, columns, query = VIEWS[name]
    view = f"{quoted(data)}.{quoted(name)}"
    statements = [
        f"CREATE VIEW {view} AS {query.format(data=quoted(data))}",
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
    data, _ = schemas(op.get_context())
    op.create_table(
        "actions",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the action."),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column("description", sa.Text(), nullable=True, comment="Description."),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True, comment="Tags."),
        sa.Column(
            "steps",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Which events it matches, as JSON; one of the steps is enough.",
        ),
        sa.Column(
            "post_to_slack",
            sa.Boolean(),
            nullable=True,
            comment="Whether Slack is told about each event.",
        ),
        sa.Column(
            "slack_message_format", sa.Text(), nullable=True, comment="How that message is written."
        ),
        sa.Column(
            "pinned_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was pinned; null if it is not.",
        ),
        sa.Column("team_id", sa.BigInteger(), nullable=True, comment="Id of the project's team."),
        sa.Column(
            "is_action", sa.Boolean(), nullable=True, comment="Always true in the API's answers."
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
            "deleted",
            sa.Boolean(),
            nullable=True,
            comment="Whether a user deleted it; seen if it was stored before.",
        ),
        sa.Column(
            "is_calculating",
            sa.Boolean(),
            nullable=True,
            comment="Always false in the API's answers.",
        ),
        sa.Column(
            "last_calculated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last calculated; only as fresh as _updated_at.",
        ),
        sa.Column(
            "bytecode_error", sa.Text(), nullable=True, comment="Why PostHog could not compile it."
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
        sa.PrimaryKeyConstraint("project_id", "id", name="actions_pkey"),
        schema=data,
        comment="One row per action.",
    )
    op.create_table(
        "annotations",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the annotation."),
        sa.Column("content", sa.Text(), nullable=True, comment="What it says."),
        sa.Column(
            "date_marker", sa.DateTime(timezone=True), nullable=True, comment="What it is about."
        ),
        sa.Column(
            "creation_type",
            sa.Text(),
            nullable=True,
            comment="USR: a user made it; GIT: a deployment.",
        ),
        sa.Column(
            "scope",
            sa.Text(),
            nullable=True,
            comment="organization, project, dashboard, dashboard_item or recording.",
        ),
        sa.Column(
            "dashboard_item",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the insight it was made on, see insights.",
        ),
        sa.Column(
            "insight_short_id", sa.Text(), nullable=True, comment="Short id of that insight."
        ),
        sa.Column("insight_name", sa.Text(), nullable=True, comment="Name of that insight."),
        sa.Column(
            "insight_derived_name",
            sa.Text(),
            nullable=True,
            comment="Name of that insight made from its query.",
        ),
        sa.Column(
            "dashboard_id",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the dashboard it was made on.",
        ),
        sa.Column("dashboard_name", sa.Text(), nullable=True, comment="Name of that dashboard."),
        sa.Column("emoji", sa.Text(), nullable=True, comment="Emoji that is shown for it."),
        sa.Column(
            "hidden_in_user_interface",
            sa.Boolean(),
            nullable=True,
            comment="Whether only the API shows it.",
        ),
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
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last changed.",
        ),
        sa.Column("deleted", sa.Boolean(), nullable=True, comment="Whether a user deleted it."),
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
        sa.PrimaryKeyConstraint("project_id", "id", name="annotations_pkey"),
        schema=data,
        comment="One row per annotation. Those of the organization are in each of its projects.",
    )
    op.create_table(
        "comments",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "id", sa.Uuid(as_uuid=False), nullable=False, comment="PostHog's id of the comment."
        ),
        sa.Column(
            "scope",
            sa.Text(),
            nullable=True,
            comment="What it is about: a recording, an insight, a ticket.",
        ),
        sa.Column(
            "item_id", sa.Text(), nullable=True, comment="Id of that, such as that of a recording."
        ),
        sa.Column(
            "item_context",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Where in it, as JSON.",
        ),
        sa.Column(
            "source_comment",
            sa.Uuid(as_uuid=False),
            nullable=True,
            comment="Id of the comment that it answers.",
        ),
        sa.Column(
            "content",
            sa.Text(),
            nullable=True,
            comment="What it says. `forget` does not look into it.",
        ),
        sa.Column(
            "rich_content",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The same with its formatting, as JSON.",
        ),
        sa.Column(
            "version", sa.BigInteger(), nullable=True, comment="How often it was changed, a count."
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
        sa.Column("deleted", sa.Boolean(), nullable=True, comment="Whether a user deleted it."),
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
        sa.PrimaryKeyConstraint("project_id", "id", name="comments_pkey"),
        schema=data,
        comment="One row per comment, also deleted ones; content is personal data.",
    )
    op.create_table(
        "experiments",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the experiment."),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column(
            "description", sa.Text(), nullable=True, comment="Description, or the hypothesis."
        ),
        sa.Column("type", sa.Text(), nullable=True, comment="product or web."),
        sa.Column(
            "start_date",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was started; null: it is a draft.",
        ),
        sa.Column(
            "end_date",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was ended; null if it was not.",
        ),
        sa.Column(
            "feature_flag",
            sa.BigInteger(),
            nullable=True,
            comment="Id of its flag, see feature_flags.",
        ),
        sa.Column("feature_flag_key", sa.Text(), nullable=True, comment="Key of its flag."),
        sa.Column(
            "holdout_id",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the group that no experiment gets.",
        ),
        sa.Column(
            "exposure_cohort",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the cohort that was exposed, see cohorts.",
        ),
        sa.Column(
            "parameters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Variants and sample size, as JSON; without payloads.",
        ),
        sa.Column(
            "running_time_calculation",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="How long it is to run, as JSON.",
        ),
        sa.Column(
            "excluded_variants",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Variants that results leave out.",
        ),
        sa.Column(
            "exposure_criteria",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="What counts as exposed, as JSON.",
        ),
        sa.Column(
            "filters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The metric in its old form, as JSON.",
        ),
        sa.Column(
            "metrics",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The metrics, as JSON, without names of actions. Newer servers show it only of a single experiment, so it may be null.",
        ),
        sa.Column(
            "metrics_secondary",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Further metrics, as JSON, without names of actions. Newer servers show it only of a single experiment, so it may be null.",
        ),
        sa.Column(
            "secondary_metrics",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Further metrics in their old form, as JSON. Newer servers show it only of a single experiment, so it may be null.",
        ),
        sa.Column(
            "saved_metrics",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Metrics that it shares with others, as JSON. Newer servers show it only of a single experiment, so it may be null.",
        ),
        sa.Column(
            "saved_metrics_ids",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Ids of these, as JSON. Newer servers show it only of a single experiment, so it may be null.",
        ),
        sa.Column(
            "primary_metrics_ordered_uuids",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="In which order metrics are shown, as JSON. Newer servers show it only of a single experiment, so it may be null.",
        ),
        sa.Column(
            "secondary_metrics_ordered_uuids",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="In which order further metrics are shown, as JSON. Newer servers show it only of a single experiment, so it may be null.",
        ),
        sa.Column(
            "stats_config",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="How results are computed, as JSON.",
        ),
        sa.Column(
            "scheduling_config",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="When they are computed, as JSON.",
        ),
        sa.Column(
            "only_count_matured_users",
            sa.Boolean(),
            nullable=True,
            comment="Whether only users count whose time to convert has passed.",
        ),
        sa.Column(
            "conclusion",
            sa.Text(),
            nullable=True,
            comment="won, lost, inconclusive, stopped_early or invalid.",
        ),
        sa.Column(
            "conclusion_comment", sa.Text(), nullable=True, comment="What a user said about that."
        ),
        sa.Column(
            "is_legacy", sa.Boolean(), nullable=True, comment="Whether its metrics are old ones."
        ),
        sa.Column("archived", sa.Boolean(), nullable=True, comment="Whether it is archived."),
        sa.Column("deleted", sa.Boolean(), nullable=True, comment="Whether a user deleted it."),
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
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last changed.",
        ),
        sa.Column(
            "status",
            sa.Text(),
            nullable=True,
            comment="draft, running, paused or stopped, from dates and flag; only as fresh as _updated_at.",
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
        sa.PrimaryKeyConstraint("project_id", "id", name="experiments_pkey"),
        schema=data,
        comment="One row per experiment; results are not copied.",
    )
    op.create_table(
        "feature_flags",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the flag."),
        sa.Column(
            "key",
            sa.Text(),
            nullable=True,
            comment="Key by which code asks for it; PostHog may rename a deleted one.",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Description: PostHog calls it name."),
        sa.Column(
            "filters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Who gets it and which variant, as JSON; without the names of cohorts and groups, and without payloads that are encrypted.",
        ),
        sa.Column("active", sa.Boolean(), nullable=True, comment="Whether it is switched on."),
        sa.Column("archived", sa.Boolean(), nullable=True, comment="Whether it is archived."),
        sa.Column(
            "deleted",
            sa.Boolean(),
            nullable=True,
            comment="Whether a user deleted it; seen if it was stored before.",
        ),
        sa.Column(
            "version", sa.BigInteger(), nullable=True, comment="How often it was changed, a count."
        ),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True, comment="Tags."),
        sa.Column(
            "evaluation_contexts",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Where it may be evaluated; empty: everywhere.",
        ),
        sa.Column("evaluation_runtime", sa.Text(), nullable=True, comment="server, client or all."),
        sa.Column(
            "bucketing_identifier",
            sa.Text(),
            nullable=True,
            comment="What a share of users is drawn by.",
        ),
        sa.Column(
            "ensure_experience_continuity",
            sa.Boolean(),
            nullable=True,
            comment="Whether who has it keeps it after logging in.",
        ),
        sa.Column(
            "is_remote_configuration",
            sa.Boolean(),
            nullable=True,
            comment="Whether it only hands out a value.",
        ),
        sa.Column(
            "has_encrypted_payloads",
            sa.Boolean(),
            nullable=True,
            comment="Whether its payloads are encrypted.",
        ),
        sa.Column(
            "rollback_conditions",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="When it is switched off by itself, as JSON.",
        ),
        sa.Column(
            "performed_rollback", sa.Boolean(), nullable=True, comment="Whether that has happened."
        ),
        sa.Column(
            "experiment_set",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Ids of its experiments, as JSON; see experiments.",
        ),
        sa.Column(
            "usage_dashboard",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the dashboard about its use.",
        ),
        sa.Column(
            "analytics_dashboards",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Ids of other dashboards, as JSON.",
        ),
        sa.Column(
            "has_enriched_analytics",
            sa.Boolean(),
            nullable=True,
            comment="Whether applications send more about its use.",
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
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last changed; null on old servers.",
        ),
        sa.Column(
            "last_modified_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who last changed it, see users.",
        ),
        sa.Column(
            "last_called_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When an application last asked for it, up to a day earlier than at PostHog; null: never, or the server does not say.",
        ),
        sa.Column(
            "status",
            sa.Text(),
            nullable=True,
            comment="What PostHog thinks of it, such as STALE; only as fresh as _updated_at.",
        ),
        sa.Column(
            "is_used_in_replay_settings",
            sa.Boolean(),
            nullable=True,
            comment="Whether it decides which sessions are recorded.",
        ),
        sa.Column(
            "can_edit",
            sa.Boolean(),
            nullable=True,
            comment="Whether the key's owner may change it.",
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
        sa.PrimaryKeyConstraint("project_id", "id", name="feature_flags_pkey"),
        schema=data,
        comment="One row per feature flag, but for those that surveys and product tours made.",
    )
    op.create_table(
        "surveys",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "id", sa.Uuid(as_uuid=False), nullable=False, comment="PostHog's id of the survey."
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column("description", sa.Text(), nullable=True, comment="Description."),
        sa.Column(
            "type", sa.Text(), nullable=True, comment="popover, widget, external_survey or api."
        ),
        sa.Column("schedule", sa.Text(), nullable=True, comment="How often a person is asked."),
        sa.Column(
            "questions",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The questions, as JSON.",
        ),
        sa.Column(
            "conditions",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="When it is shown, as JSON; of an action only its id, see actions.",
        ),
        sa.Column(
            "appearance",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="What it looks like, as JSON.",
        ),
        sa.Column(
            "translations",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Its texts in other languages, as JSON.",
        ),
        sa.Column(
            "form_content",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The content of a form, as JSON.",
        ),
        sa.Column(
            "linked_flag_id",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the flag that a person needs to be asked, see feature_flags.",
        ),
        sa.Column(
            "linked_insight_id",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the insight it was made from.",
        ),
        sa.Column(
            "targeting_flag",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the flag that says who is asked.",
        ),
        sa.Column(
            "internal_targeting_flag",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the flag that says who was asked.",
        ),
        sa.Column(
            "feature_flag_keys",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Keys of all these flags, as JSON.",
        ),
        sa.Column(
            "start_date",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was started; null if it was not.",
        ),
        sa.Column(
            "end_date",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was ended; null if it was not.",
        ),
        sa.Column("archived", sa.Boolean(), nullable=True, comment="Whether it is archived."),
        sa.Column(
            "responses_limit",
            sa.BigInteger(),
            nullable=True,
            comment="How many answers end it, a count.",
        ),
        sa.Column(
            "iteration_count",
            sa.BigInteger(),
            nullable=True,
            comment="How often it is repeated, a count.",
        ),
        sa.Column(
            "iteration_frequency_days",
            sa.BigInteger(),
            nullable=True,
            comment="After how many days it is repeated.",
        ),
        sa.Column(
            "iteration_start_dates",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="When each round begins.",
        ),
        sa.Column(
            "response_sampling_start_date",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When sampling begins.",
        ),
        sa.Column(
            "response_sampling_interval_type",
            sa.Text(),
            nullable=True,
            comment="day, week or month.",
        ),
        sa.Column(
            "response_sampling_interval",
            sa.BigInteger(),
            nullable=True,
            comment="For so many of these, a count.",
        ),
        sa.Column(
            "response_sampling_limit",
            sa.BigInteger(),
            nullable=True,
            comment="How many answers are wanted, a count.",
        ),
        sa.Column(
            "response_sampling_daily_limits",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="How many on each day, as JSON.",
        ),
        sa.Column(
            "enable_partial_responses",
            sa.Boolean(),
            nullable=True,
            comment="Whether unfinished answers are kept.",
        ),
        sa.Column(
            "enable_iframe_embedding",
            sa.Boolean(),
            nullable=True,
            comment="Whether other sites may embed it.",
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
            "current_iteration",
            sa.BigInteger(),
            nullable=True,
            comment="Number of the round under way; only as fresh as _updated_at.",
        ),
        sa.Column(
            "current_iteration_start_date",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When that round began; only as fresh as _updated_at.",
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
        sa.PrimaryKeyConstraint("project_id", "id", name="surveys_pkey"),
        schema=data,
        comment="One row per survey, but for those of product tours; answers to it are events.",
    )
    for name in VIEWS:
        _create_view(name, data)


def downgrade() -> None:
    data, _ = schemas(op.get_context())
    for name in VIEWS:
        op.get_bind().exec_driver_sql(f"DROP VIEW {quoted(data)}.{quoted(name)}")
    op.drop_table("surveys", schema=data)
    op.drop_table("feature_flags", schema=data)
    op.drop_table("experiments", schema=data)
    op.drop_table("comments", schema=data)
    op.drop_table("annotations", schema=data)
    op.drop_table("actions", schema=data)
