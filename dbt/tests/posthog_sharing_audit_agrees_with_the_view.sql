-- What the audit calls public or protected by a password is what publicly_shared_now shows.
with audit as (
    select *
    from {{ ref('posthog_sharing_audit') }}
    where exposure in ('public', 'password')
)

select
    audit.exposure,
    shown.password_protected
from audit
full join {{ source('posthog', 'publicly_shared_now') }} as shown
    on shown.project_id = audit.project_id
    and shown.resource_type = audit.resource_type
    and shown.resource_id = audit.resource_id
where (audit.exposure = 'password') is distinct from shown.password_protected
    or audit.passwords is distinct from shown.passwords
    or audit.name is distinct from shown.name
