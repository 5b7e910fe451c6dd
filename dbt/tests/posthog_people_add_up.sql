-- Each person is here once, with all recordings of the person.
with mart as (
    select
        project_id,
        count(*) as people,
        sum(recordings) as recordings
    from {{ ref('posthog_people') }}
    group by project_id
),

base as (
    select
        persons.project_id,
        count(distinct persons.uuid) as people,
        count(recordings.id) as recordings
    from {{ ref('stg_posthog__persons') }} as persons
    left join {{ ref('stg_posthog__session_recordings') }} as recordings
        on recordings.project_id = persons.project_id
        and recordings.person_uuid = persons.uuid
    group by persons.project_id
)

select *
from mart
full join base using (project_id)
where mart.people is distinct from base.people
    or mart.recordings is distinct from base.recordings
