-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "uuid",
    "organization",
    "name",
    "timezone",
    "is_demo",
    "ingested_event",
    "completed_snippet_onboarding",
    "has_completed_onboarding_for",
    "access_control",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'projects') }}
where _deleted_at is null
