{# Resources come from the sources: that one is gone shows only there. One that was never copied
   may still be shared, so it does not count as gone. #}

with passwords as (
    select
        project_id,
        resource_type,
        resource_id,
        count(*) as passwords
    from {{ ref('stg_posthog__share_passwords') }}
    where is_active is not false
    group by project_id, resource_type, resource_id
),

shares as (
    select
        shares.*,
        coalesce(
            nullif(insights.name, ''), nullif(insights.derived_name, ''),
            nullif(dashboards.name, ''), nullif(persons.name, ''), recordings.distinct_id
        ) as name,
        coalesce(insights.created_by, dashboards.created_by) as created_by,
        coalesce(
            insights._deleted_at, dashboards._deleted_at,
            recordings._deleted_at, recordings._expired_at
        ) is not null
        or coalesce(insights.deleted, dashboards.deleted, false) as is_gone
    from {{ ref('stg_posthog__sharing_configurations') }} as shares
    left join {{ source('posthog', 'insights') }} as insights
        on shares.resource_type = 'insight'
        and insights.project_id = shares.project_id
        and insights.id::text = shares.resource_id
    left join {{ source('posthog', 'dashboards') }} as dashboards
        on shares.resource_type = 'dashboard'
        and dashboards.project_id = shares.project_id
        and dashboards.id::text = shares.resource_id
    left join {{ source('posthog', 'session_recordings') }} as recordings
        on shares.resource_type = 'recording'
        and recordings.project_id = shares.project_id
        and recordings.id = shares.resource_id
    left join {{ source('posthog', 'persons') }} as persons
        on persons.project_id = recordings.project_id
        and persons.uuid = recordings.person_uuid
)

select
    shares.project_id,
    shares.resource_type,
    shares.resource_id,
    shares.name,
    case
        when shares.enabled is not true then 'not shared'
        when shares.is_gone then 'gone'
        when shares.password_required then 'password'
        else 'public'
    end as exposure,
    shares.created_at as shared_since,
    coalesce(passwords.passwords, 0) as passwords,
    users.email as created_by_email,
    checks.checked_at
from shares
left join passwords
    on passwords.project_id = shares.project_id
    and passwords.resource_type = shares.resource_type
    and passwords.resource_id = shares.resource_id
left join {{ ref('stg_posthog__users') }} as users
    on users.project_id = shares.project_id
    and users.id = shares.created_by
left join {{ ref('stg_posthog_etl__checks') }} as checks
    on checks.project_id = shares.project_id
    and checks.stream = shares.resource_type || '_sharing'
    and checks.record_key = shares.resource_id
