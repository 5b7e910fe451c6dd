-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "id",
    "name",
    "description",
    "filters",
    "groups",
    "query",
    "is_static",
    "cohort_type",
    "condition_type",
    "experiment_set",
    "deleted",
    "created_at",
    "created_by",
    "version",
    "last_calculation",
    "count",
    "pending_version",
    "last_backfill_person_properties_at",
    "is_calculating",
    "errors_calculating",
    "last_error_message",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid",
    "_deleted_at"
from {{ source('posthog', 'cohorts') }}
{% if not var('posthog_with_deleted', false) %}
where _deleted_at is null
{% endif %}
