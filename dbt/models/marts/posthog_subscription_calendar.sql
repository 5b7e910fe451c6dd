{# PostHog sends by a recurrence rule (RFC 5545) in UTC, with weeks from Monday. Each day of a
   period is tried, since a position counts within its whole period: -1 is the last one. Rules
   know no fractions of a second, and PostHog's library counts positions in a first week from the
   start. #}
{% set units = {'daily': 'day', 'weekly': 'week', 'monthly': 'month', 'yearly': 'year'} %}

with live as (
    select
        project_id,
        id,
        title,
        resource_name,
        target_type,
        target_value,
        insight,
        dashboard,
        frequency,
        case frequency
            {% for frequency, unit in units.items() %}
            when '{{ frequency }}' then '{{ unit }}'
            {% endfor %}
        end as unit,
        greatest(coalesce("interval", 1), 1) as every,
        nullif(byweekday, '{}') as weekdays,
        bysetpos,
        "count" as at_most,
        date_trunc('second', start_date) as start_date,
        date_trunc('second', start_date) at time zone 'UTC' as starts,
        until_date,
        {{ posthog_now() }} at time zone 'UTC' as today
    from {{ ref('stg_posthog__subscriptions') }}
    where deleted is not true
        and enabled is not false
        and start_date is not null
        and frequency in ('{{ units | join("', '") }}')
),

bounds as (
    select
        *,
        -- Only one that is sent so many times is counted from its beginning.
        date_trunc(
            unit, case when at_most is null then greatest(starts, today) else starts end
        ) as from_day,
        date_trunc(unit, today + interval '{{ var("posthog_calendar_days", 30) }} days')
        + ('1 ' || unit)::interval - interval '1 day' as to_day
    from live
),

days as (
    select
        bounds.*,
        each.day,
        date_trunc(bounds.unit, each.day) as period,
        case bounds.unit
            when 'day' then each.day::date - bounds.starts::date
            when 'week' then
                (date_trunc('week', each.day)::date - date_trunc('week', bounds.starts)::date) / 7
            when 'month' then
                (extract(year from each.day) - extract(year from bounds.starts)) * 12
                + extract(month from each.day) - extract(month from bounds.starts)
            else extract(year from each.day) - extract(year from bounds.starts)
        end as nth_period
    from bounds
    cross join lateral generate_series(bounds.from_day, bounds.to_day, interval '1 day') as each (day)
),

matching as (
    select
        *,
        row_number() over (partition by project_id, id, period order by day) as place,
        row_number() over (partition by project_id, id, period order by day desc) as place_from_end
    from days
    where mod(nth_period::bigint, every) = 0
        and (unit <> 'week' or day >= date_trunc('day', starts))
        and case
            when weekdays is not null then trim(to_char(day, 'day')) = any(weekdays)
            when unit = 'week' then extract(isodow from day) = extract(isodow from starts)
            when unit = 'month' then extract(day from day) = extract(day from starts)
            when unit = 'year' then to_char(day, 'MMDD') = to_char(starts, 'MMDD')
            else true
        end
),

deliveries as (
    select
        *,
        (day::date + starts::time) at time zone 'UTC' as deliver_at
    from matching
    where weekdays is null
        or bysetpos is null
        or bysetpos = case when bysetpos > 0 then place else -place_from_end end
),

numbered as (
    select
        *,
        row_number() over (partition by project_id, id order by deliver_at) as nth
    from deliveries
    where deliver_at >= start_date
)

select
    project_id,
    id as subscription_id,
    (deliver_at at time zone '{{ var("posthog_timezone", "UTC") }}')::date as day,
    deliver_at,
    title,
    case when insight is not null then 'insight' when dashboard is not null then 'dashboard' end
        as resource_type,
    coalesce(insight, dashboard) as resource_id,
    resource_name,
    target_type,
    target_value,
    frequency
from numbered
where deliver_at >= {{ posthog_now() }}
    and deliver_at < {{ posthog_now() }} + interval '{{ var("posthog_calendar_days", 30) }} days'
    and (until_date is null or deliver_at <= until_date)
    and (at_most is null or nth <= at_most)
