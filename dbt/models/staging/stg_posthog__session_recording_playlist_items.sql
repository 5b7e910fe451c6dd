-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "short_id",
    "recording_id",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'session_recording_playlist_items') }}
where _deleted_at is null
