-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "created_at",
    "user",
    "activity",
    "scope",
    "item_id",
    "detail",
    "organization_id",
    "was_impersonated",
    "is_system",
    "unread",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'activity_log') }}
where _deleted_at is null
