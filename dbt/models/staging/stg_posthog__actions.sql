-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "name",
    "description",
    "tags",
    "steps",
    "post_to_slack",
    "slack_message_format",
    "pinned_at",
    "team_id",
    "is_action",
    "created_at",
    "created_by",
    "deleted",
    "is_calculating",
    "last_calculated_at",
    "bytecode_error",
    "user_access_level",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'actions') }}
where _deleted_at is null
