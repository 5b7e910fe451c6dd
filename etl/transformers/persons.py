"""Turn persons into rows: the same rows as those of a recording's person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from etl.core.page import Batch, Page
from etl.transformers.recordings import PERSON_DISTINCT_IDS, PERSONS, add_person
from etl.transformers.transformer import Collector, transform_page

TABLES = (PERSONS, PERSON_DISTINCT_IDS)
# Of the list only: what an actor of an insight would have (PostHog source,
# posthog/queries/actor_base_query.py).
_OF_ACTORS = ("type", "matched_recordings", "value_at_data_point")


def without_actor(record: dict[str, Any]) -> dict[str, Any]:
    """Return a person as a retrieve shows it: in the list the id is the UUID."""
    kept = {name: value for name, value in record.items() if name not in _OF_ACTORS}
    if isinstance(kept.get("id"), str) and kept["id"] == kept.get("uuid"):
        del kept["id"]
    return kept


def _add(collector: Collector, record: Mapping[str, Any], repaired: list[str]) -> None:
    add_person(
        collector, record, 0, repaired=bool(repaired), id_repaired="distinct_ids" in repaired
    )


# Returns persons and distinct ids of a page. Pure; safe to repeat.
transform: Callable[[Page], Batch] = partial(transform_page, tables=TABLES, key=("uuid",), add=_add)
