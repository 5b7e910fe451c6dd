"""Feature flags, living and archived ones."""

from typing import Any

from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows
from etl.transformers.reduced import changed_inside, without

FLAG_TABLE = TableSpec(
    name="feature_flags",
    about="One row per feature flag, but for those that surveys and product tours made.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's id of the flag."),
        Field("key", Kind.TEXT, "Key by which code asks for it; PostHog may rename a deleted one."),
        Field("name", Kind.TEXT, "Description: PostHog calls it name."),
        Field(
            "filters",
            Kind.JSON,
            "Who gets it and which variant, as JSON; without the names of cohorts and groups, and "
            "without payloads that are encrypted.",
        ),
        Field("active", Kind.BOOLEAN, "Whether it is switched on."),
        Field("archived", Kind.BOOLEAN, "Whether it is archived.", null_keeps=True),
        Field(
            "deleted",
            Kind.BOOLEAN,
            "Whether a user deleted it; seen if it was stored before.",
            null_keeps=True,
        ),
        Field("version", Kind.BIGINT, "How often it was changed, a count.", null_keeps=True),
        Field("tags", Kind.TEXTS, "Tags.", null_keeps=True),
        Field(
            "evaluation_contexts",
            Kind.TEXTS,
            "Where it may be evaluated; empty: everywhere.",
            null_keeps=True,
        ),
        Field("evaluation_runtime", Kind.TEXT, "server, client or all."),
        Field("bucketing_identifier", Kind.TEXT, "What a share of users is drawn by."),
        Field(
            "ensure_experience_continuity",
            Kind.BOOLEAN,
            "Whether who has it keeps it after logging in.",
        ),
        Field("is_remote_configuration", Kind.BOOLEAN, "Whether it only hands out a value."),
        Field("has_encrypted_payloads", Kind.BOOLEAN, "Whether its payloads are encrypted."),
        Field("rollback_conditions", Kind.JSON, "When it is switched off by itself, as JSON."),
        Field("performed_rollback", Kind.BOOLEAN, "Whether that has happened."),
        Field("experiment_set", Kind.JSON, "Ids of its experiments, as JSON; see experiments."),
        Field("usage_dashboard", Kind.BIGINT, "Id of the dashboard about its use."),
        Field("analytics_dashboards", Kind.JSON, "Ids of other dashboards, as JSON."),
        Field(
            "has_enriched_analytics", Kind.BOOLEAN, "Whether applications send more about its use."
        ),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field("updated_at", Kind.INSTANT, "When it was last changed; null on old servers."),
        Field("last_modified_by", Kind.BIGINT, "Id of the user who last changed it, see users."),
        Field(
            "last_called_at",
            Kind.INSTANT,
            "When an application last asked for it, up to a day earlier than at PostHog; null: "
            "never, or the server does not say.",
            volatile=True,
            # `stale_flags` lists flags that were not called.
            after_days=1,
            null_keeps=True,
        ),
        Field(
            "status",
            Kind.TEXT,
            "What PostHog thinks of it, such as STALE; only as fresh as _updated_at.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "is_used_in_replay_settings",
            Kind.BOOLEAN,
            "Whether it decides which sessions are recorded.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "can_edit",
            Kind.BOOLEAN,
            "Whether the key's owner may change it.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "user_access_level",
            Kind.TEXT,
            "What the key's owner may do.",
            volatile=True,
            null_keeps=True,
        ),
    ),
)

# Whole surveys, names of experiments and of early access features, and what is computed from the
# flag (PostHog source, products/feature_flags/backend/api/feature_flag.py).
_ELSEWHERE = ("surveys", "features", "experiment_set_metadata", "is_eligible_for_experiment")


def reduce_flag(record: dict[str, Any]) -> dict[str, Any]:
    """Return a flag without what others hold, without names that change, without secret payloads.

    The API replaces encrypted payloads by stars unless the key may decrypt them.
    """
    record = without(record, *_ELSEWHERE)
    if record.get("has_encrypted_payloads") not in (None, False):
        record = changed_inside(record, lambda each: without(each, "payloads"))
    if "filters" in record:
        record["filters"] = changed_inside(record["filters"], _without_names)
    return record


def _without_names(each: dict[str, Any]) -> dict[str, Any]:
    """Return a condition on a property without the names that the server adds to ids."""
    if "type" not in each or "key" not in each:
        return each
    return without(each, "cohort_name", "group_key_names")


FEATURE_FLAGS = Stream(
    name="feature_flags",
    about="Feature flags, living and archived ones, and the users who made them",
    scope="feature_flag:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # Without `archived` the list leaves out archived flags, with it all others; an older
            # server ignores it and answers the same twice. Deleted flags are in neither list, but
            # a single one is found by its id (PostHog source,
            # products/feature_flags/backend/api/feature_flag.py).
            lists=(
                Address("feature_flags/", prefix="projects"),
                Address("feature_flags/", params=(("archived", "true"),), prefix="projects"),
            ),
            one=Address("feature_flags/{id}/", prefix="projects"),
            key=("id",),
            created="created_at",
            tables=(FLAG_TABLE, USERS),
            redact=reduce_flag,
            transform=object_rows(FLAG_TABLE, users=("created_by", "last_modified_by")),
        ),
    ),
)
