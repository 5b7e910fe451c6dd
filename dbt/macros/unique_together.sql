{% test posthog_unique_together(model, columns) %}
{# No two rows have the same values in these columns. #}
select
    {% for column in columns %}{{ adapter.quote(column) }}, {% endfor %}count(*) as rows_found
from {{ model }}
group by {% for column in columns %}{{ adapter.quote(column) }}{{ ", " if not loop.last }}{% endfor %}
having count(*) > 1
{% endtest %}
