-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "label",
    "mask_value",
    "created_at",
    "created_by",
    "last_used_at",
    "last_rolled_at",
    "scopes",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'project_secret_api_keys') }}
where _deleted_at is null
