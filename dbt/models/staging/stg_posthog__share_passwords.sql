-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "resource_type",
    "resource_id",
    "id",
    "created_at",
    "note",
    "created_by_email",
    "is_active",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'share_passwords') }}
where _deleted_at is null
