-- Made by dbt/generate.py: change the catalogue and run `make docs`.
select
    "project_id",
    "stream",
    "complete",
    "tail_until",
    "swept",
    "traits",
    "updated_at"
from {{ source('posthog_etl', 'watermarks') }}
