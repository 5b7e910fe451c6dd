"""What was done in the project, by whom; and every delivery of a subscription.

Rows are only added to both lists, so a sync reads what is new (`etl.core.growing`).
"""

from typing import Any

from etl.core.growing import Growth
from etl.core.identity import Identity, Names
from etl.core.stream import (
    Address,
    Field,
    Kind,
    Mode,
    Parents,
    Resource,
    Secrets,
    Stream,
    TableSpec,
)
from etl.transformers.objects import USERS, object_rows
from etl.transformers.secrets import known_fields, objects_in, rewritten, texts_in

ACTIVITY_TABLE = TableSpec(
    name="activity_log",
    about="What was done in the project; one row per entry of the activity log.",
    key=("id",),
    indexed="created_at",
    identities=(
        Identity("item_id", Names.RECORDING),
        Identity("item_id", Names.PERSON, when=("scope", "Person")),
    ),
    mentions=("detail",),
    fields=(
        Field("id", Kind.UUID, "PostHog's id of the entry."),
        Field("created_at", Kind.INSTANT, "When it was done."),
        Field("user", Kind.BIGINT, "Id of the user who did it, see users; null: the system."),
        Field("activity", Kind.TEXT, "What was done, such as created, updated or deleted."),
        Field("scope", Kind.TEXT, "The kind of thing that it was done to, such as FeatureFlag."),
        Field(
            "item_id",
            Kind.TEXT,
            "Id of this thing; of a person the numeric one, which `forget` does not look for.",
            lenient=True,
        ),
        # Values before and after may be anything that users type, also secrets.
        Field(
            "detail",
            Kind.JSON,
            "Name of the thing and what changed, as JSON; other text, such as values before and "
            "after, is kept as hash and length.",
            plain=("name", "short_id", "type", "changes.type", "changes.action", "changes.field"),
        ),
        Field("organization_id", Kind.UUID, "Id of the organization.", null_keeps=True),
        Field(
            "was_impersonated",
            Kind.BOOLEAN,
            "Whether an employee of PostHog did it in the user's name.",
            null_keeps=True,
        ),
        Field("is_system", Kind.BOOLEAN, "Whether PostHog did it by itself.", null_keeps=True),
        Field(
            "unread",
            Kind.BOOLEAN,
            "Whether the key's owner has not read it.",
            volatile=True,
            null_keeps=True,
        ),
    ),
)


def as_it_is(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record: no field of it is a secret by its name."""
    return record


ACTIVITY_LOG = Stream(
    name="activity_log",
    about="What was done in the project, and by whom; personal data",
    scope="activity_log:read",
    mode=Mode.SNAPSHOT,
    off=True,
    resources=(
        Resource(
            # Every server opens this form to keys. The one that filters by date, at
            # `advanced_activity_logs/`, older servers close to them (PostHog source,
            # posthog/api/advanced_activity_logs). It would save nothing: this list comes newest
            # first, so reading ends at the same row. A parameter that a form does not know is
            # ignored, so none is sent.
            lists=(Address("activity_log/", prefix="projects"),),
            key=("id",),
            created="created_at",
            growth=Growth("created_at"),
            # How far back it goes depends on the plan.
            mirrors=False,
            tables=(ACTIVITY_TABLE, USERS),
            secrets=Secrets(as_it_is, known_fields(ACTIVITY_TABLE, user=USERS)),
            transform=object_rows(ACTIVITY_TABLE, users=("user",)),
        ),
    ),
)

DELIVERY_TABLE = TableSpec(
    name="subscription_deliveries",
    about="One row per delivery of a subscription; not what was sent, nor to whom.",
    key=("subscription", "id"),
    fields=(
        Field("subscription", Kind.BIGINT, "Id of the subscription."),
        Field("id", Kind.UUID, "PostHog's id of the delivery."),
        Field("created_at", Kind.INSTANT, "When it was begun."),
        Field("trigger_type", Kind.TEXT, "scheduled, manual or target_change."),
        Field("scheduled_at", Kind.INSTANT, "When it was due, if it was scheduled."),
        Field("target_type", Kind.TEXT, "email, slack or webhook."),
        Field("status", Kind.TEXT, "starting, completed, failed or skipped."),
        Field("finished_at", Kind.INSTANT, "When it ended; null while it may still change."),
        Field("last_updated_at", Kind.INSTANT, "When it last changed."),
        Field("exported_asset_ids", Kind.JSON, "Ids of the images that were made, as JSON."),
        Field(
            "error",
            Kind.JSON,
            "Why it failed, as JSON; text other than type and code is kept as hash and length.",
            plain=("type", "code"),
        ),
        Field("temporal_workflow_id", Kind.TEXT, "Id of PostHog's job.", null_keeps=True),
        Field("idempotency_key", Kind.TEXT, "What keeps it from being sent twice."),
    ),
)

# What was sent and to whom: results of queries, personal data, secret addresses.
_TO_WHOM = ("target_value", "recipient_results")
_DROPPED = frozenset(
    {
        *_TO_WHOM,
        "content_snapshot",
        "change_summary",
        "ai_report",
        "ai_report_diagnostics",
        "ai_report_prompt",
    }
)


def drop_contents(record: dict[str, Any]) -> dict[str, Any]:
    """Return a delivery without what was sent and to whom. Safe to repeat."""
    held = [each[name] for each in objects_in(record) for name in _TO_WHOM if name in each]

    def kept(each: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in each.items() if name not in _DROPPED}

    # Other text of a result, such as an instant, may stand in a field that is kept.
    addresses = (text for text in texts_in(held) if "/" in text or "@" in text)
    return rewritten(record, kept, addresses)


SUBSCRIPTION_DELIVERIES = Stream(
    name="subscription_deliveries",
    about="Deliveries of subscriptions, without their contents; one request per subscription",
    scope="subscription:read",
    mode=Mode.SNAPSHOT,
    off=True,
    resources=(
        Resource(
            lists=(Address("subscriptions/{subscription}/deliveries/", prefix="projects"),),
            key=("subscription", "id"),
            created="created_at",
            growth=Growth("created_at", closed="finished_at"),
            mirrors=False,
            parents=Parents("subscriptions", {"subscription": "id"}),
            tables=(DELIVERY_TABLE,),
            secrets=Secrets(drop_contents, known_fields(DELIVERY_TABLE)),
            transform=object_rows(DELIVERY_TABLE),
        ),
    ),
)
