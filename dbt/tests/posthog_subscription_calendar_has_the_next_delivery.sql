-- PostHog's own next delivery is in the calendar, of rules that name no weekdays. A warning only:
-- PostHog's instant is as of the last reading.
{{ config(severity='warn') }}

select
    subscriptions.project_id,
    subscriptions.id,
    subscriptions.next_delivery_date
from {{ ref('stg_posthog__subscriptions') }} as subscriptions
left join {{ ref('posthog_subscription_calendar') }} as calendar
    on calendar.project_id = subscriptions.project_id
    and calendar.subscription_id = subscriptions.id
    and calendar.deliver_at = subscriptions.next_delivery_date
where subscriptions.deleted is not true
    and subscriptions.enabled is not false
    and coalesce(subscriptions.byweekday, '{}') = '{}'
    and extract(day from subscriptions.start_date at time zone 'UTC') <= 28
    and subscriptions.next_delivery_date >= now() + interval '1 hour'
    and subscriptions.next_delivery_date
    < now() + interval '{{ var("posthog_calendar_days", 30) }} days' - interval '1 hour'
    and calendar.deliver_at is null
