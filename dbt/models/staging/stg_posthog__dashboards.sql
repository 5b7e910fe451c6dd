-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "name",
    "description",
    "pinned",
    "created_at",
    "created_by",
    "is_shared",
    "deleted",
    "creation_mode",
    "tags",
    "restriction_level",
    "access_control_version",
    "folder",
    "team_id",
    "last_accessed_at",
    "last_viewed_at",
    "last_refresh",
    "effective_restriction_level",
    "effective_privilege_level",
    "user_access_level",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid",
    "_deleted_at"
from {{ source('posthog', 'dashboards') }}
{% if not var('posthog_with_deleted', false) %}
where _deleted_at is null
{% endif %}
