-- Each entry counts for one group, and each group is here.
with mart as (
    select
        project_id,
        sum(entries) as entries,
        count(*) filter (where is_listed) as listed
    from {{ ref('posthog_group_activity') }}
    group by project_id
),

entries as (
    select
        project_id,
        count(*) as entries
    from {{ ref('stg_posthog__group_activity') }}
    group by project_id
),

listed as (
    select
        project_id,
        count(*) as listed
    from {{ ref('stg_posthog__groups') }}
    group by project_id
)

select *
from mart
full join entries using (project_id)
full join listed using (project_id)
where coalesce(mart.entries, 0) <> coalesce(entries.entries, 0)
    or coalesce(mart.listed, 0) <> coalesce(listed.listed, 0)
