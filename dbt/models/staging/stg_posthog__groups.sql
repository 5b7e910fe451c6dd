-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "group_type_index",
    "group_key",
    "group_properties",
    "created_at",
    "notebook",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'groups') }}
where _deleted_at is null
