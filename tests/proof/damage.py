"""Damage to the copy, and what `verify` must say about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from etl.runs.report import Report
from tests.proof.claims import RECORDINGS

# By the kind of difference that they make. Each takes the keys of rows.
STATEMENTS = {
    "missing": f"DELETE FROM posthog.{RECORDINGS} WHERE id = ANY ($1)",
    "different": (
        f"UPDATE posthog.{RECORDINGS} SET click_count = coalesce(click_count, 0) + 1 "
        "WHERE id = ANY ($1)"
    ),
    "surplus": (
        f"INSERT INTO posthog.{RECORDINGS} (project_id, id, start_time, retention_period_days, "
        "expiry_time, _observed_at, _first_seen_at, _updated_at, _xid) SELECT project_id, "
        "'not-' || id, start_time, retention_period_days, expiry_time, _observed_at, "
        f"_first_seen_at, _updated_at, _xid FROM posthog.{RECORDINGS} WHERE id = ANY ($1)"
    ),
}
REMOVE_INVENTED = f"DELETE FROM posthog.{RECORDINGS} WHERE id LIKE 'not-%'"
# The guard counts what the sequence lost before, too, so it may withhold what is surplus.
WITHHELD = "have vanished within a day"
_EVERY = 7


def damaged_rows(keys: Sequence[str]) -> dict[str, list[str]]:
    """Return which rows are damaged, by the kind of difference: a few of each."""
    return {kind: [*keys[first::_EVERY]] for first, kind in enumerate(STATEMENTS)}


def misjudged(report: Report, rows: int, wanted: Mapping[str, int]) -> Iterator[str]:
    """Yield what is wrong with a comparison of `rows` recordings.

    wanted: how many of them differ, by kind. If some do, they must have been repaired.
    """
    found = report.found
    if report.ending.exit_code or found is None:
        yield f"verify ends {report.ending}"
        return
    for kind in STATEMENTS:
        if found.total(kind) != wanted.get(kind, 0):
            yield f"verify found {found.total(kind)} {kind} instead of {wanted.get(kind, 0)}"
    if found.total("source", RECORDINGS) != rows:
        yield f"verify compared {found.total('source', RECORDINGS)} recordings instead of {rows}"
    if any(wanted.values()) and not found.repaired:
        yield "verify repaired nothing"
