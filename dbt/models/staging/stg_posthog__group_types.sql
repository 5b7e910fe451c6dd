-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "group_type_index",
    "group_type",
    "name_singular",
    "name_plural",
    "detail_dashboard",
    "default_columns",
    "created_at",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'group_types') }}
where _deleted_at is null
