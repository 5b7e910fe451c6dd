-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "scope",
    "item_id",
    "item_context",
    "source_comment",
    "content",
    "rich_content",
    "version",
    "created_at",
    "created_by",
    "deleted",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'comments') }}
where _deleted_at is null
