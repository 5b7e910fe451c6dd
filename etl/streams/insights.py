"""Insights, without their results."""

from typing import Any

from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows

INSIGHT_TABLE = TableSpec(
    name="insights",
    about="One row per insight; their results are not copied.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's id of the insight."),
        Field("short_id", Kind.TEXT, "Short id, as addresses have it."),
        Field("name", Kind.TEXT, "Name."),
        Field("derived_name", Kind.TEXT, "Name made from the query.", null_keeps=True),
        Field("description", Kind.TEXT, "Description."),
        Field("query", Kind.JSON, "The query, as JSON.", null_keeps=True),
        Field("filters", Kind.JSON, "The query in its old form, as JSON.", null_keeps=True),
        Field("dashboards", Kind.JSON, "Ids of the dashboards it is on, as JSON."),
        Field("dashboard_tiles", Kind.JSON, "Its tiles on these, as JSON.", null_keeps=True),
        Field("saved", Kind.BOOLEAN, "Whether it was saved.", null_keeps=True),
        Field("favorited", Kind.BOOLEAN, "Whether it is a favourite.", null_keeps=True),
        Field("deleted", Kind.BOOLEAN, "Whether a user deleted it.", null_keeps=True),
        Field("tags", Kind.TEXTS, "Tags.", null_keeps=True),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field("last_modified_at", Kind.INSTANT, "When a user last changed it."),
        Field(
            "last_modified_by",
            Kind.BIGINT,
            "Id of the user who last changed it, see users.",
            null_keeps=True,
        ),
        Field(
            "updated_at",
            Kind.INSTANT,
            "When the row last changed at PostHog, also by itself.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "last_refresh",
            Kind.INSTANT,
            "When its result was last calculated.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "refreshing",
            Kind.BOOLEAN,
            "Whether its result is being calculated.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "last_viewed_at",
            Kind.INSTANT,
            "When it was last looked at.",
            volatile=True,
            null_keeps=True,
        ),
        Field("user_access_level", Kind.TEXT, "What the key's owner may do.", null_keeps=True),
    ),
)

_RESULTS = (
    "result",
    "hasMore",
    "columns",
    "types",
    "hogql",
    "timezone",
    "is_cached",
    "query_status",
    "resolved_date_range",
    "alerts",
    "next_allowed_client_refresh",
    "cache_target_age",
    "search_match_type",
    "effective_privilege_level",
    "effective_restriction_level",
)


def drop_results(record: dict[str, Any]) -> dict[str, Any]:
    """Return an insight without its results and the fields about them."""
    return {name: value for name, value in record.items() if name not in _RESULTS}


# Without `basic` every insight comes with its last result, which may have megabytes (PostHog
# source, posthog/api/insight.py). A server that does not know the parameter ignores it.
_BASIC = (("basic", "true"),)

INSIGHTS = Stream(
    name="insights",
    about="Insights, without their results, and the users who made them",
    scope="insight:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            lists=(Address("insights/", params=_BASIC),),
            one=Address("insights/{id}/", params=_BASIC),
            key=("id",),
            created="created_at",
            tables=(INSIGHT_TABLE, USERS),
            redact=drop_results,
            transform=object_rows(INSIGHT_TABLE, users=("created_by", "last_modified_by")),
        ),
    ),
)
