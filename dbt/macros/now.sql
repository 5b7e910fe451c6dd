{% macro posthog_now() %}
    {#- Apart, so that unit tests can say what time it is. -#}
    now()
{% endmacro %}
