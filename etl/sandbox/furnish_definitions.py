"""Generates definitions of events and of properties of all types."""

import random
from datetime import timedelta
from typing import Any
from uuid import UUID

from etl.sandbox.clock import to_datetime
from etl.sandbox.kinds_definitions import EventDefinition, PropertyDefinition
from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store

_EVENTS = ("$pageview", "$autocapture", "user signed up", 'größe "x" 🦔', "", "$identify")
_PROPERTIES: tuple[tuple[str, str | None], ...] = (
    ("plan", "String"), ("$current_url", "String"), ("seats", "Numeric"), ("born", "DateTime"),
    ("größe", None), ("is_admin", "Boolean"),
)  # fmt: skip
# Whose they are, in turn. A list of events leaves out the property $set.
_TYPES = (("event", -1), ("person", -1), ("group", 0), ("session", -1), ("group", 1))


def furnish_definitions(
    store: Store, options: SandboxOptions, project: int, started_us: int
) -> None:
    """Adds so many of each: some described, some confirmed, some hidden."""
    # A stream of its own, so that other records stay what they were.
    draw = random.Random(f"{options.seed}:{project}:definitions")
    started = to_datetime(started_us)

    def new_id() -> str:
        return str(UUID(int=draw.getrandbits(128), version=4))

    def described(nth: int) -> dict[str, Any]:
        if nth % 2:
            return {}
        changed = started - timedelta(days=20, microseconds=draw.randrange(10**11))
        verified = nth % 4 == 0
        return {
            "description": f"Seen № {nth}",
            "updated_at": changed,
            "updated_by": 1 + nth % 5,
            "verified": verified,
            "verified_at": changed if verified else None,
            "verified_by": 2 if verified else None,
            "hidden": not verified,
        }

    for nth in range(options.others):
        name = _EVENTS[nth] if nth < len(_EVENTS) else f"event {nth}"
        store.add(
            EventDefinition(
                id=new_id(),
                name=name,
                created_at=None if name == "" else started - timedelta(days=100 - nth),
                last_seen_at=None if nth % 5 == 4 else started - timedelta(hours=nth),
                tags=["core", "größe"][: nth % 3],
                primary_property="$pathname" if name == "$pageview" else None,
                owner=3 if nth % 4 == 0 else None,
                default_columns=["plan"] if nth % 3 == 2 else [],
                **described(nth),
            )
        )
        type, index = _TYPES[nth % len(_TYPES)]
        name, kind = _PROPERTIES[nth % len(_PROPERTIES)]
        store.add(
            PropertyDefinition(
                id=new_id(),
                name=f"{name} {nth}" if nth >= len(_PROPERTIES) else name,
                type=type,
                group_type_index=index,
                property_type=kind,
                is_numerical=kind == "Numeric",
                tags=["core"][: nth % 2],
                **described(nth),
            )
        )
    if options.others:
        store.add(PropertyDefinition(id=new_id(), name="$set", type="event"))
