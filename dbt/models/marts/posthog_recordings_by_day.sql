{# From the first to the last day with a recording, also days without any. Beyond today, where
   clients with wrong clocks date some, only days with a recording. Recordings without a start are
   on no day. Expired ones count: they were made. #}
{% set zone = var('posthog_timezone', 'UTC') %}

with recordings as (
    select
        *,
        (start_time at time zone '{{ zone }}')::date as day
    from {{ ref('stg_posthog__session_recordings') }}
    where start_time is not null
),

spans as (
    select
        project_id,
        min(day) as first_day,
        max(day) filter (
            where day <= ({{ posthog_now() }} at time zone '{{ zone }}')::date
        ) as last_day
    from recordings
    group by project_id
),

dates as (
    select
        spans.project_id,
        each.day
    from spans
    cross join
        generate_series(
            spans.first_day::timestamp, spans.last_day::timestamp, interval '1 day'
        ) as each (day)
    union
    select
        project_id,
        day::timestamp
    from recordings
),

days as (
    select
        project_id,
        day::date as day,
        day at time zone '{{ zone }}' as begins_at,
        (day + interval '1 day') at time zone '{{ zone }}' as ends_at
    from dates
)

select
    days.project_id,
    days.day,
    count(recordings.id) as recordings,
    count(distinct recordings.distinct_id) as distinct_ids,
    count(distinct recordings.person_uuid) as people,
    coalesce(sum(recordings.recording_duration), 0) as recorded_seconds,
    coalesce(sum(recordings.active_seconds), 0) as active_seconds,
    coalesce(sum(recordings.click_count), 0) as clicks,
    coalesce(sum(recordings.keypress_count), 0) as keypresses,
    coalesce(sum(recordings.console_error_count), 0) as console_errors,
    count(*) filter (where recordings.console_error_count > 0) as recordings_with_errors,
    coalesce(
        bool_or(watermarks.complete @> tstzrange(days.begins_at, days.ends_at)), false
    ) as is_complete
from days
left join recordings
    on recordings.project_id = days.project_id
    and recordings.day = days.day
left join {{ ref('stg_posthog_etl__watermarks') }} as watermarks
    on watermarks.project_id = days.project_id
    and watermarks.stream = 'session_recordings'
group by days.project_id, days.day
