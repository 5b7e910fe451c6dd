-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "resource_type",
    "resource_id",
    "enabled",
    "created_at",
    "access_token_sha256",
    "settings",
    "password_required",
    "user_access_level",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'sharing_configurations') }}
where _deleted_at is null
