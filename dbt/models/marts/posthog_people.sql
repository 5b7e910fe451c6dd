with recordings as (
    select
        project_id,
        person_uuid,
        count(*) as recordings,
        sum(active_seconds) as active_seconds,
        sum(click_count) as clicks,
        min(start_time) as first_recording_at,
        max(start_time) as last_recording_at
    from {{ ref('stg_posthog__session_recordings') }}
    where person_uuid is not null
    group by project_id, person_uuid
),

distinct_ids as (
    select
        project_id,
        person_uuid,
        count(*) as distinct_ids
    from {{ ref('stg_posthog__person_distinct_ids') }}
    where person_uuid is not null
    group by project_id, person_uuid
),

cohorts as (
    select
        project_id,
        person_uuid,
        count(*) as cohorts
    from {{ ref('stg_posthog__cohort_members') }}
    group by project_id, person_uuid
)

select
    persons.project_id,
    persons.uuid as person_uuid,
    persons.name,
    persons.properties ->> 'email' as email,
    persons.is_identified,
    persons.created_at,
    coalesce(distinct_ids.distinct_ids, 0) as distinct_ids,
    coalesce(recordings.recordings, 0) as recordings,
    coalesce(recordings.active_seconds, 0) as active_seconds,
    coalesce(recordings.clicks, 0) as clicks,
    recordings.first_recording_at,
    recordings.last_recording_at,
    coalesce(cohorts.cohorts, 0) as cohorts
from {{ ref('stg_posthog__persons') }} as persons
left join recordings
    on recordings.project_id = persons.project_id
    and recordings.person_uuid = persons.uuid
left join distinct_ids
    on distinct_ids.project_id = persons.project_id
    and distinct_ids.person_uuid = persons.uuid
left join cohorts
    on cohorts.project_id = persons.project_id
    and cohorts.person_uuid = persons.uuid
