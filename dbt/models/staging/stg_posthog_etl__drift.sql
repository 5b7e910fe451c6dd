-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "stream",
    "table_name",
    "field",
    "expected",
    "found",
    "first_seen_at"
from {{ source('posthog_etl', 'drift') }}
