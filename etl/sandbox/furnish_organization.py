"""Generates the project itself, the members of its organization, and its logs."""

import random
from datetime import datetime, timedelta
from typing import Any

from etl.sandbox.clock import to_datetime
from etl.sandbox.kinds_organization import Delivery, LogEntry, Member, ProjectRow
from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store, uuid_text

_LEVELS = (15, 8, 1)
_DONE = (
    ("updated", "FeatureFlag", "new-checkout", "active", True, False),
    ("created", "Insight", "Weekly users", None, None, None),
    ("deleted", "Person", "018f0000-0000-7000-8000-00000000beef", None, None, None),
    ("updated", "Experiment", "Größe des Knopfs 🦔", "description", "Red", "Green"),
    ("exported", "Team", None, None, None, None),
)
_TARGETS = ("ana@sandbox.example", "C0123ABC|#reports", "https://hooks.sandbox.example/T0/B{n}/x")


def furnish_organization(
    store: Store, options: SandboxOptions, project: int, started_us: int
) -> None:
    """Adds them: `others` of each, but no more members than users, and one project."""
    # A stream of its own, so that other records stay what they were.
    draw = random.Random(f"{options.seed}:{project}:organization")
    started, base = to_datetime(started_us), project * 10_000
    store.add(
        ProjectRow(
            id=project,
            uuid=f"018f0000-0000-7000-8000-{project:012x}",
            # One of its own, so that what is true of one project does not depend on the others.
            organization=f"018f0000-0000-7000-a000-{project:012x}",
            name=f"Sandbox {project}",
            timezone=options.timezone,
            has_completed_onboarding_for={"session_replay": True} if project % 2 else None,
        )
    )
    for nth, user in enumerate([*store.users][: options.others]):
        joined = started - timedelta(days=300 - nth, microseconds=draw.randrange(10**9))
        store.add(
            Member(
                id=uuid_text(base + nth),
                user=user,
                level=_LEVELS[min(nth, 2)],
                joined_at=joined,
                updated_at=joined + timedelta(days=nth),
                is_2fa_enabled=nth % 2 == 0,
                has_social_auth=nth % 3 == 1,
                last_login=None if nth % 4 == 3 else started - timedelta(hours=nth),
            )
        )
    for nth in range(options.others):
        store.add(_entry(base, nth, started - timedelta(hours=7 * nth + draw.random())))
    for nth, subscription in enumerate(store.subscriptions.values()):
        for each in range(options.others // (1 + nth)):
            made = started - timedelta(hours=24 * each + 1 + draw.random())
            store.add(_delivery(base + 100 * nth + each, subscription.id, made, is_open=each == 1))


def _entry(base: int, nth: int, made: datetime) -> LogEntry:
    activity, scope, name, changed, before, after = _DONE[nth % len(_DONE)]
    changes: list[dict[str, Any]] = []
    if changed is not None:
        changes.append(
            {
                "type": scope,
                "action": "changed",
                "field": changed,
                "before": before,
                "after": after,
            }
        )
    return LogEntry(
        id=uuid_text(base + nth),
        user=None if nth % 6 == 4 else 1 + nth % 3,
        activity=activity,
        scope=scope,
        item_id=None if name is None else str(base + nth),
        detail={"name": name, "short_id": None, "type": None, "changes": changes},
        created_at=made,
        was_impersonated=nth % 7 == 3,
        is_system=nth % 6 == 4,
        unread=nth % 2 == 0,
    )


def _delivery(number: int, subscription: int, made: datetime, *, is_open: bool) -> Delivery:
    failed = number % 5 == 3
    target = _TARGETS[number % len(_TARGETS)].format(n=number)
    return Delivery(
        id=uuid_text(number),
        subscription=subscription,
        trigger_type=("scheduled", "manual", "target_change")[number % 3],
        scheduled_at=made if number % 3 == 0 else None,
        target_type=("email", "slack", "webhook")[number % 3],
        target_value=target,
        exported_asset_ids=[number, number + 1][: number % 3],
        content_snapshot={"insights": [{"name": "Weekly users", "result": [number]}]},
        recipient_results=[{"recipient": target, "status": "sent"}],
        status="starting" if is_open else "failed" if failed else "completed",
        error={"type": "TargetGone", "message": f"{target} is gone"} if failed else None,
        created_at=made,
        last_updated_at=made + timedelta(seconds=0 if is_open else 40),
        finished_at=None if is_open else made + timedelta(seconds=40),
    )
