"""Generates cohorts of the generated persons."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from etl.sandbox.clock import to_datetime
from etl.sandbox.kinds import Cohort
from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store

_NAMES = ("Power users", "", None, 'Größte "Kunden" 🦔')


def _filters(nth: int) -> dict[str, Any]:
    wanted = {"key": "email", "type": "person", "operator": "icontains"}
    conditions = [{**wanted, "value": f"@example{each}.com"} for each in range(nth % 3)]
    return {"properties": {"type": "OR", "values": [{"type": "AND", "values": conditions}]}}


def furnish_cohorts(
    store: Store,
    options: SandboxOptions,
    project: int,
    started_us: int,
    uuid_of: Callable[[int], str],
) -> None:
    """Adds them: every third is static, every fifth was deleted. They draw from all persons."""
    # A stream of its own, so that other records stay what they were.
    draw = random.Random(f"{options.seed}:{project}:cohorts")
    started, pool = to_datetime(started_us), options.person_pool
    for nth in range(options.cohorts):
        members = draw.sample(range(pool), min(pool, draw.randrange(2 + 4 * nth)))
        made = started - timedelta(days=200 - nth, microseconds=draw.randrange(10**9))
        static = nth % 3 == 2
        store.add(
            Cohort(
                id=project * 10_000 + nth + 1,
                name=_NAMES[nth % len(_NAMES)],
                description="" if nth % 2 else f"Cohort № {nth}",
                filters={} if static else _filters(nth),
                deleted=nth % 5 == 4,
                is_static=static,
                created_at=made,
                created_by=1 + nth % 3,
                last_calculation=None if static else started - timedelta(hours=1 + nth),
                version=None if static else 1 + nth,
                cohort_type="static" if static else "person_property",
                condition_type=None if static else "person",
                persons=[uuid_of(each) for each in members],
            )
        )
