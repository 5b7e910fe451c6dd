"""Experiments; not their results."""

from typing import Any

from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows
from etl.transformers.reduced import changed_inside, id_of, without, without_inside

_DETAIL = "Newer servers show it only of a single experiment, so it may be null."

EXPERIMENT_TABLE = TableSpec(
    name="experiments",
    about="One row per experiment; results are not copied.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's id of the experiment."),
        Field("name", Kind.TEXT, "Name."),
        Field("description", Kind.TEXT, "Description, or the hypothesis."),
        Field("type", Kind.TEXT, "product or web."),
        Field("start_date", Kind.INSTANT, "When it was started; null: it is a draft."),
        Field("end_date", Kind.INSTANT, "When it was ended; null if it was not."),
        Field("feature_flag", Kind.BIGINT, "Id of its flag, see feature_flags."),
        Field("feature_flag_key", Kind.TEXT, "Key of its flag."),
        Field("holdout_id", Kind.BIGINT, "Id of the group that no experiment gets."),
        Field("exposure_cohort", Kind.BIGINT, "Id of the cohort that was exposed, see cohorts."),
        Field("parameters", Kind.JSON, "Variants and sample size, as JSON; without payloads."),
        Field("running_time_calculation", Kind.JSON, "How long it is to run, as JSON."),
        Field("excluded_variants", Kind.TEXTS, "Variants that results leave out."),
        Field("exposure_criteria", Kind.JSON, "What counts as exposed, as JSON."),
        Field("filters", Kind.JSON, "The metric in its old form, as JSON."),
        Field(
            "metrics",
            Kind.JSON,
            f"The metrics, as JSON, without names of actions. {_DETAIL}",
            null_keeps=True,
        ),
        Field(
            "metrics_secondary",
            Kind.JSON,
            f"Further metrics, as JSON, without names of actions. {_DETAIL}",
            null_keeps=True,
        ),
        Field(
            "secondary_metrics",
            Kind.JSON,
            f"Further metrics in their old form, as JSON. {_DETAIL}",
            null_keeps=True,
        ),
        Field(
            "saved_metrics",
            Kind.JSON,
            f"Metrics that it shares with others, as JSON. {_DETAIL}",
            null_keeps=True,
        ),
        Field("saved_metrics_ids", Kind.JSON, f"Ids of these, as JSON. {_DETAIL}", null_keeps=True),
        Field(
            "primary_metrics_ordered_uuids",
            Kind.JSON,
            f"In which order metrics are shown, as JSON. {_DETAIL}",
            null_keeps=True,
        ),
        Field(
            "secondary_metrics_ordered_uuids",
            Kind.JSON,
            f"In which order further metrics are shown, as JSON. {_DETAIL}",
            null_keeps=True,
        ),
        Field("stats_config", Kind.JSON, "How results are computed, as JSON."),
        Field("scheduling_config", Kind.JSON, "When they are computed, as JSON."),
        Field(
            "only_count_matured_users",
            Kind.BOOLEAN,
            "Whether only users count whose time to convert has passed.",
            null_keeps=True,
        ),
        Field("conclusion", Kind.TEXT, "won, lost, inconclusive, stopped_early or invalid."),
        Field("conclusion_comment", Kind.TEXT, "What a user said about that."),
        Field("is_legacy", Kind.BOOLEAN, "Whether its metrics are old ones.", null_keeps=True),
        Field("archived", Kind.BOOLEAN, "Whether it is archived."),
        Field("deleted", Kind.BOOLEAN, "Whether a user deleted it.", null_keeps=True),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field("updated_at", Kind.INSTANT, "When it was last changed."),
        Field(
            "status",
            Kind.TEXT,
            "draft, running, paused or stopped, from dates and flag; only as fresh as _updated_at.",
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

_METRICS = ("metrics", "metrics_secondary", "secondary_metrics", "saved_metrics")


def reduce_experiment(record: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment with the id of its flag, and without what is computed on reading.

    PostHog writes names of actions, date ranges and fingerprints into metrics, and payloads of the
    flag, which may be secret, into `parameters` (PostHog source,
    products/experiments/backend/presentation/experiments.py).
    """
    if "holdout" in record:
        record = {"holdout_id": id_of(record["holdout"]), **record}
    record = without(record, "holdout")
    if "feature_flag" in record:
        record["feature_flag"] = id_of(record["feature_flag"])
    if "parameters" in record:
        record["parameters"] = without_inside(record["parameters"], "feature_flag_payloads")
    for name in _METRICS:
        if name in record:
            record[name] = changed_inside(record[name], _as_defined)
    return record


def _as_defined(each: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a metric without what is computed on reading."""
    each = without(each, "fingerprint")
    if each.get("kind") == "ActionsNode":
        each = without(each, "name")
    for name in ("count_query", "funnels_query"):
        if isinstance(each.get(name), dict):
            each[name] = without(each[name], "dateRange")
    return each


EXPERIMENTS = Stream(
    name="experiments",
    about="Experiments, living and archived ones, and the users who made them",
    scope="experiment:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # Without `archived` the list leaves out archived experiments, with it all others; an
            # older server ignores it. Deleted ones are not found at all (PostHog source,
            # products/experiments/backend/presentation/experiments.py and the service behind it).
            lists=(
                Address("experiments/", prefix="projects"),
                Address("experiments/", params=(("archived", "true"),), prefix="projects"),
            ),
            one=Address("experiments/{id}/", prefix="projects"),
            key=("id",),
            created="created_at",
            tables=(EXPERIMENT_TABLE, USERS),
            redact=reduce_experiment,
            transform=object_rows(EXPERIMENT_TABLE, users=("created_by",)),
        ),
    ),
)
