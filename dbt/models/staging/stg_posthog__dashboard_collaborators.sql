-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "dashboard_id",
    "id",
    "user",
    "level",
    "added_at",
    "updated_at",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'dashboard_collaborators') }}
where _deleted_at is null
