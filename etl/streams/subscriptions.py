"""Subscriptions: what is sent to whom, and when."""

from typing import Any

from etl.core.stream import (
    Address,
    Field,
    Kind,
    Mode,
    Resource,
    Secrets,
    Stream,
    TableSpec,
)
from etl.transformers.fields import sha256
from etl.transformers.objects import USERS, object_rows
from etl.transformers.secrets import is_hash, known_fields, objects_in, rewritten, texts_in

SUBSCRIPTION_TABLE = TableSpec(
    name="subscriptions",
    about="One row per subscription to an insight or a dashboard, also those switched off.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's id of the subscription."),
        Field("dashboard", Kind.BIGINT, "Id of the dashboard that is sent, if it is one."),
        Field("insight", Kind.BIGINT, "Id of the insight that is sent, if it is one."),
        Field("insight_short_id", Kind.TEXT, "Its short id.", null_keeps=True),
        Field("resource_name", Kind.TEXT, "Name of what is sent.", null_keeps=True),
        Field("target_type", Kind.TEXT, "email, slack or webhook."),
        Field(
            "target_value",
            Kind.TEXT,
            "Emails with commas, or a Slack channel. A webhook's address is a secret: of it "
            "only sha256: and a hash in hexadecimal are kept.",
        ),
        Field("frequency", Kind.TEXT, "daily, weekly, monthly or yearly."),
        Field("interval", Kind.BIGINT, "Every so many days, weeks, months or years, a count."),
        Field("byweekday", Kind.TEXTS, "Days of the week, in English, lower case."),
        Field("bysetpos", Kind.BIGINT, "Which of these days in the month; -1 is the last."),
        Field("count", Kind.BIGINT, "How often it is sent at most."),
        Field("start_date", Kind.INSTANT, "When it begins; also the time of day it is sent."),
        Field("until_date", Kind.INSTANT, "When it ends."),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field("deleted", Kind.BOOLEAN, "Whether a user deleted it; it can still be read."),
        Field("title", Kind.TEXT, "Title."),
        Field(
            "summary",
            Kind.TEXT,
            "The schedule in words; made by the server, whose words change with its version.",
            volatile=True,
        ),
        Field(
            "next_delivery_date",
            Kind.INSTANT,
            "When it is sent next; only as fresh as _updated_at.",
            volatile=True,
        ),
        Field("invite_message", Kind.TEXT, "Always null in the API's answers."),
        Field("content_type", Kind.TEXT, "What is sent.", null_keeps=True),
        Field(
            "dashboard_export_insights",
            Kind.JSON,
            "Ids of the dashboard's insights that are sent, as JSON.",
            null_keeps=True,
        ),
        Field("prompt", Kind.TEXT, "Prompt of the generated text.", null_keeps=True),
        # PostHog does not document its content.
        Field(
            "ai_config",
            Kind.JSON,
            "How that text is generated, as JSON; text inside is kept as hash and length.",
            null_keeps=True,
        ),
        Field("enabled", Kind.BOOLEAN, "Whether it is sent.", null_keeps=True),
        Field("integration_id", Kind.BIGINT, "Id of the Slack integration.", null_keeps=True),
        Field("summary_enabled", Kind.BOOLEAN, "Whether a summary is sent.", null_keeps=True),
        Field(
            "summary_prompt_guide", Kind.TEXT, "How the summary is to be written.", null_keeps=True
        ),
    ),
)


def hide_webhook(record: dict[str, Any]) -> dict[str, Any]:
    """Return a subscription without the address of a webhook, to which anyone could post.

    Safe to repeat.
    """
    targets = [each["target_value"] for each in objects_in(record) if _has_webhook(each)]
    if not targets:
        return record
    return rewritten(record, _with_hash, (text for text in texts_in(targets) if "/" in text))


def _with_hash(each: dict[str, Any]) -> dict[str, Any]:
    return {**each, "target_value": sha256(each["target_value"])} if _has_webhook(each) else each


def _has_webhook(each: dict[str, Any]) -> bool:
    """Tell whether it is sent to a webhook, or may be sent to one."""
    target = each.get("target_value")
    if target in (None, ""):
        return False
    if is_hash(target):
        return False
    if not isinstance(target, str):
        return True
    return each.get("target_type") not in ("email", "slack") or "/" in target


SUBSCRIPTIONS = Stream(
    name="subscriptions",
    about="Subscriptions, live and deleted ones, and the users who made them",
    scope="subscription:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # Without `deleted` the list leaves out deleted ones; with it, all others (PostHog
            # source, ee/api/subscription.py). A server that ignores the parameter answers the same
            # twice.
            lists=(
                Address("subscriptions/"),
                Address("subscriptions/", params=(("deleted", "true"),)),
            ),
            one=Address("subscriptions/{id}/"),
            key=("id",),
            created="created_at",
            tables=(SUBSCRIPTION_TABLE, USERS),
            secrets=Secrets(hide_webhook, known_fields(SUBSCRIPTION_TABLE, created_by=USERS)),
            transform=object_rows(SUBSCRIPTION_TABLE, users=("created_by",)),
        ),
    ),
)
