-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "name",
    "id",
    "property_type",
    "is_numerical",
    "is_seen_on_filtered_events",
    "tags",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'session_property_definitions') }}
where _deleted_at is null
