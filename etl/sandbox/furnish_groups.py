"""Generates group types, groups with many kinds of properties, and their activity."""

import random
from datetime import datetime, timedelta
from typing import Any

from etl.sandbox.kinds import Group, GroupActivity, GroupType
from etl.sandbox.store import Store

_TYPES = (("organization", "organisations"), ("project", None), ("instance", None))
_ODD_KEYS = (
    'org/é "x"', "with some spaces ", "a+b&c=d?e#f", "100%25", "小企鹅🐧", "..", "null", "0",
    "k" * 400, "https://app.example.com/", "back\\slash", "tab\tbed", "UPPER", "upper",
)  # fmt: skip
_INDUSTRIES = ("technology", "finance", "größe & söhne", " ", 5, "5", True, None, 1.5, ["a", "b"])
_PLANS = ("free", "team", "enterprise")


def furnish_groups(store: Store, count: int, started: datetime, draw: random.Random) -> None:
    """Adds so many groups of three types: six tenths, three tenths and one tenth of them."""
    sizes = [count * 6 // 10, count * 3 // 10]
    sizes.append(count - sum(sizes))
    for index, ((name, plural), size) in enumerate(zip(_TYPES, sizes, strict=True)):
        if count:
            store.add(
                GroupType(
                    group_type_index=index,
                    group_type=name,
                    name_singular=name.capitalize() if plural else None,
                    name_plural=plural,
                    detail_dashboard=42 if index == 1 else None,
                    default_columns=["name", "plan"] if index == 0 else None,
                    created_at=started - timedelta(days=300 - index),
                )
            )
        for nth in range(size):
            _group(store, index, nth, name, started, draw)


def _group(
    store: Store, index: int, nth: int, name: str, started: datetime, draw: random.Random
) -> None:
    key = _ODD_KEYS[nth] if index == 0 and nth < len(_ODD_KEYS) else f"{name}:{nth}"
    # To the minute, so that some share an instant and only the key decides their order.
    made = started.replace(second=0, microsecond=0) - timedelta(
        minutes=draw.randrange(nth + 1) * 30
    )
    store.add(Group(index, key, _properties(nth, name, draw), made))
    for each in range(3 if nth % 40 == 0 else 0):
        store.add(
            GroupActivity(
                id=index * 100_000 + nth * 10 + each + 1,
                group_type_index=index,
                group_key=key,
                created_at=made + (started - made) / (each + 2) + timedelta(microseconds=each),
                activity="create_property" if each == 2 else "update_property",
                item_id=f"{nth}" if each else None,
                detail={
                    "name": "plan",
                    "changes": [{"type": "Group", "action": "changed", "after": _PLANS[each]}],
                },
                user=None if each == 1 else 1 + nth % 3,
                is_system=each == 1,
            )
        )


def _properties(nth: int, name: str, draw: random.Random) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "name": f"{name.capitalize()} {nth}",
        "plan": _PLANS[draw.randrange(3)],
        "industry": _INDUSTRIES[draw.randrange(len(_INDUSTRIES))],
        "seats": draw.randrange(25),
    }
    if nth % 10 == 3:
        properties |= {
            "count": 5,
            "ratio": 0.1 * nth,
            "nested": {"x": 1, "é": [None, {"deep": "\u2028"}]},
            "missing": None,
            'odd "key"\\/': -1e-7,
        }
    return {} if nth % 50 == 49 else properties
