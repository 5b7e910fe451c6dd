-- Nothing that was asked about is left out.
with mart as (
    select
        project_id,
        count(*) as resources
    from {{ ref('posthog_sharing_audit') }}
    group by project_id
),

base as (
    select
        project_id,
        count(*) as resources
    from {{ source('posthog', 'sharing_configurations') }}
    where _deleted_at is null
    group by project_id
)

select *
from mart
full join base using (project_id)
where mart.resources is distinct from base.resources
