-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "group_type_index",
    "group_key",
    "related_type_index",
    "related_id",
    "person_uuid",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'group_related') }}
where _deleted_at is null
