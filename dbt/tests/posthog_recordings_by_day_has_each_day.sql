-- No day between the first and the last one is left out.
select project_id
from {{ ref('posthog_recordings_by_day') }}
group by project_id
having count(*) <> max(day) - min(day) + 1
