-- No day between the first and the last one until today is left out.
select project_id
from {{ ref('posthog_recordings_by_day') }}
where day <= (now() at time zone '{{ var("posthog_timezone", "UTC") }}')::date
group by project_id
having count(*) <> max(day) - min(day) + 1
