"""Surveys; not the answers to them, which are events."""

from typing import Any

from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows
from etl.transformers.reduced import id_of, without

SURVEY_TABLE = TableSpec(
    name="surveys",
    about="One row per survey, but for those of product tours; answers to it are events.",
    key=("id",),
    fields=(
        Field("id", Kind.UUID, "PostHog's id of the survey."),
        Field("name", Kind.TEXT, "Name."),
        Field("description", Kind.TEXT, "Description."),
        Field("type", Kind.TEXT, "popover, widget, external_survey or api."),
        Field("schedule", Kind.TEXT, "How often a person is asked."),
        Field("questions", Kind.JSON, "The questions, as JSON."),
        Field(
            "conditions",
            Kind.JSON,
            "When it is shown, as JSON; of an action only its id, see actions.",
        ),
        Field("appearance", Kind.JSON, "What it looks like, as JSON."),
        Field("translations", Kind.JSON, "Its texts in other languages, as JSON."),
        Field("form_content", Kind.JSON, "The content of a form, as JSON."),
        Field(
            "linked_flag_id",
            Kind.BIGINT,
            "Id of the flag that a person needs to be asked, see feature_flags.",
        ),
        Field("linked_insight_id", Kind.BIGINT, "Id of the insight it was made from."),
        Field("targeting_flag", Kind.BIGINT, "Id of the flag that says who is asked."),
        Field("internal_targeting_flag", Kind.BIGINT, "Id of the flag that says who was asked."),
        Field("feature_flag_keys", Kind.JSON, "Keys of all these flags, as JSON."),
        Field("start_date", Kind.INSTANT, "When it was started; null if it was not."),
        Field("end_date", Kind.INSTANT, "When it was ended; null if it was not."),
        Field("archived", Kind.BOOLEAN, "Whether it is archived."),
        Field("responses_limit", Kind.BIGINT, "How many answers end it, a count."),
        Field("iteration_count", Kind.BIGINT, "How often it is repeated, a count."),
        Field("iteration_frequency_days", Kind.BIGINT, "After how many days it is repeated."),
        Field("iteration_start_dates", Kind.TEXTS, "When each round begins."),
        Field("response_sampling_start_date", Kind.INSTANT, "When sampling begins."),
        Field("response_sampling_interval_type", Kind.TEXT, "day, week or month."),
        Field("response_sampling_interval", Kind.BIGINT, "For so many of these, a count."),
        Field("response_sampling_limit", Kind.BIGINT, "How many answers are wanted, a count."),
        Field("response_sampling_daily_limits", Kind.JSON, "How many on each day, as JSON."),
        Field("enable_partial_responses", Kind.BOOLEAN, "Whether unfinished answers are kept."),
        Field(
            "enable_iframe_embedding",
            Kind.BOOLEAN,
            "Whether other sites may embed it.",
        ),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field(
            "current_iteration",
            Kind.BIGINT,
            "Number of the round under way; only as fresh as _updated_at.",
            volatile=True,
        ),
        Field(
            "current_iteration_start_date",
            Kind.INSTANT,
            "When that round began; only as fresh as _updated_at.",
            volatile=True,
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


def reduce_survey(record: dict[str, Any]) -> dict[str, Any]:
    """Return a survey with ids in the place of whole flags and actions.

    Those are streams of their own, and change when the survey does not (PostHog source,
    products/surveys/backend/api/survey.py).
    """
    if "linked_flag" in record:
        record = {"linked_flag_id": id_of(record["linked_flag"]), **record}
    record = without(record, "linked_flag", "search_match_type")
    for name in ("targeting_flag", "internal_targeting_flag"):
        if name in record:
            record[name] = id_of(record[name])
    conditions = record.get("conditions")
    if isinstance(conditions, dict) and isinstance(conditions.get("actions"), dict):
        actions = dict(conditions["actions"])
        if isinstance(actions.get("values"), list):
            actions["values"] = [id_of(each) for each in actions["values"]]
        record["conditions"] = {**conditions, "actions": actions}
    return record


SURVEYS = Stream(
    name="surveys",
    about="Surveys, living and archived ones, and the users who made them",
    scope="survey:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # One list shows archived surveys, too. No order is set, so two pages may show one
            # survey and leave out another: it is read again until as many were met as it counts
            # (PostHog source, products/surveys/backend/api/survey.py).
            lists=(Address("surveys/", prefix="projects"),),
            one=Address("surveys/{id}/", prefix="projects"),
            key=("id",),
            created="created_at",
            tables=(SURVEY_TABLE, USERS),
            redact=reduce_survey,
            transform=object_rows(SURVEY_TABLE, users=("created_by",)),
        ),
    ),
)
