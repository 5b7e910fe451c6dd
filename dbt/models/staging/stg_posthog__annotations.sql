-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "content",
    "date_marker",
    "creation_type",
    "scope",
    "dashboard_item",
    "insight_short_id",
    "insight_name",
    "insight_derived_name",
    "dashboard_id",
    "dashboard_name",
    "emoji",
    "hidden_in_user_interface",
    "tags",
    "created_at",
    "created_by",
    "updated_at",
    "deleted",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'annotations') }}
where _deleted_at is null
