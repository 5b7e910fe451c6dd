-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "short_id",
    "name",
    "derived_name",
    "description",
    "query",
    "filters",
    "dashboards",
    "dashboard_tiles",
    "saved",
    "favorited",
    "deleted",
    "tags",
    "created_at",
    "created_by",
    "last_modified_at",
    "last_modified_by",
    "updated_at",
    "last_refresh",
    "refreshing",
    "last_viewed_at",
    "user_access_level",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid",
    "_deleted_at"
from {{ source('posthog', 'insights') }}
{% if not var('posthog_with_deleted', false) %}
where _deleted_at is null
{% endif %}
