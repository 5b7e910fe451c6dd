-- Each field that was not expected is here.
with mart as (
    select
        project_id,
        count(*) as fields
    from {{ ref('posthog_api_drift') }}
    group by project_id
),

base as (
    select
        project_id,
        count(*) as fields
    from {{ source('posthog_etl', 'drift') }}
    group by project_id
)

select *
from mart
full join base using (project_id)
where mart.fields is distinct from base.fields
