-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "stream",
    "record_key",
    "checked_at",
    "tried_at"
from {{ source('posthog_etl', 'checks') }}
