-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "name",
    "created_at",
    "last_seen_at",
    "description",
    "tags",
    "verified",
    "verified_at",
    "verified_by",
    "hidden",
    "updated_at",
    "updated_by",
    "owner",
    "last_updated_at",
    "default_columns",
    "primary_property",
    "enforcement_mode",
    "is_action",
    "action_id",
    "created_by",
    "post_to_slack",
    "is_calculating",
    "last_calculated_at",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid",
    "_deleted_at"
from {{ source('posthog', 'event_definitions') }}
{% if not var('posthog_with_deleted', false) %}
where _deleted_at is null
{% endif %}
