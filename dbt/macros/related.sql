{% test posthog_belongs_to(model, columns, to, to_columns) %}
{# Each row has its row in `to`, of the same project. Rows with null in a column are left out. #}
select m.*
from {{ model }} as m
where {% for column in columns %}m.{{ adapter.quote(column) }} is not null and {% endfor %}not exists (
    select 1
    from {{ to }} as t
    where {% for column in columns %}t.{{ adapter.quote(to_columns[loop.index0]) }} = m.{{ adapter.quote(column) }}{{ " and " if not loop.last }}{% endfor %}
)
{% endtest %}
