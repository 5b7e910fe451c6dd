-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "subscription",
    "id",
    "created_at",
    "trigger_type",
    "scheduled_at",
    "target_type",
    "status",
    "finished_at",
    "last_updated_at",
    "exported_asset_ids",
    "error",
    "temporal_workflow_id",
    "idempotency_key",
    "extra",
    "_repaired",
    "_observed_at",
    "_first_seen_at",
    "_updated_at",
    "_xid"
from {{ source('posthog', 'subscription_deliveries') }}
where _deleted_at is null
