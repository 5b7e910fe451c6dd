{# All groups, also those without activity, and groups of which only the activity is known. #}

with activity as (
    select
        project_id,
        group_type_index,
        group_key,
        count(*) as entries,
        count(distinct "user" ->> 'email') as users,
        count(*) filter (where is_system) as entries_by_system,
        min(created_at) as first_activity_at,
        max(created_at) as last_activity_at
    from {{ ref('stg_posthog__group_activity') }}
    group by project_id, group_type_index, group_key
)

select
    project_id,
    group_type_index,
    group_key,
    types.group_type,
    listed.group_key is not null as is_listed,
    listed.created_at,
    coalesce(activity.entries, 0) as entries,
    coalesce(activity.users, 0) as users,
    coalesce(activity.entries_by_system, 0) as entries_by_system,
    activity.first_activity_at,
    activity.last_activity_at
from {{ ref('stg_posthog__groups') }} as listed
full join activity using (project_id, group_type_index, group_key)
left join (
    select
        project_id,
        group_type_index,
        group_type
    from {{ ref('stg_posthog__group_types') }}
) as types using (project_id, group_type_index)
