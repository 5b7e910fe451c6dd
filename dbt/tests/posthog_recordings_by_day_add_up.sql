-- Each recording with a start is on one day of its project.
with mart as (
    select
        project_id,
        sum(recordings) as recordings,
        sum(clicks) as clicks
    from {{ ref('posthog_recordings_by_day') }}
    group by project_id
),

base as (
    select
        project_id,
        count(*) as recordings,
        coalesce(sum(click_count), 0) as clicks
    from {{ ref('stg_posthog__session_recordings') }}
    where start_time is not null
    group by project_id
)

select *
from mart
full join base using (project_id)
where mart.recordings is distinct from base.recordings
    or mart.clicks is distinct from base.clicks
