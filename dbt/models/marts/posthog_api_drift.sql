select
    project_id,
    stream,
    table_name,
    field,
    case when expected is null then 'new field' else 'other type' end as kind,
    expected,
    found,
    first_seen_at
from {{ ref('stg_posthog_etl__drift') }}
