-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "uuid",
    "id",
    "name",
    "properties",
    "created_at",
    "last_seen_at",
    "is_identified",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'persons') }}
where _deleted_at is null
