-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "type",
    "group_type_index",
    "id",
    "name",
    "property_type",
    "is_numerical",
    "description",
    "tags",
    "verified",
    "verified_at",
    "verified_by",
    "hidden",
    "updated_at",
    "updated_by",
    "virtual",
    "is_seen_on_filtered_events",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'property_definitions') }}
where _deleted_at is null
