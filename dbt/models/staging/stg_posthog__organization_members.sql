-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "organization",
    "id",
    "user",
    "level",
    "joined_at",
    "updated_at",
    "is_2fa_enabled",
    "has_social_auth",
    "last_login",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'organization_members') }}
where _deleted_at is null
