-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "group_type_index",
    "group_key",
    "entry",
    "created_at",
    "activity",
    "scope",
    "item_id",
    "detail",
    "user",
    "is_system",
    "unread",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'group_activity') }}
where _deleted_at is null
