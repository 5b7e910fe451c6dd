-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "short_id",
    "id",
    "name",
    "derived_name",
    "description",
    "type",
    "pinned",
    "deleted",
    "filters",
    "created_at",
    "created_by",
    "last_modified_at",
    "last_modified_by",
    "recordings_counts",
    "is_synthetic",
    "user_access_level",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'session_recording_playlists') }}
where _deleted_at is null
