"""Which records of a batch are stored as they came: the hashes of their rows tell.

A record is unchanged only if each row that becomes of it is: the recording, its person, and the
person's distinct ids. Rows are compared and not whole records, because another record may have
written one of them since (A -> B -> A).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from etl.core.page import HashedRecord, Page


class Seen(NamedTuple):
    """What a batch shows of a row. row_hash: None if its pages differ about the row."""

    row_hash: int | None
    observed_at: datetime


# By table, and by the key in that table.
Rows = Mapping[str, Mapping[Any, Seen]]


class Unchanged(Struct, frozen=True):
    """Records that need no writing, a count; and the rows that become of them."""

    records: int
    rows: Rows


NONE_UNCHANGED = Unchanged(0, {})


def rows_of(pages: Sequence[Page], table: str) -> Rows:
    """Return what pages show of each row. Empty if a record was decoded: its rows are unknown.

    table: the one of the records themselves.
    """
    own: dict[Any, Seen] = {}
    rows: dict[str, dict[Any, Seen]] = {table: own}
    for page in pages:
        at, shared = page.observed_at, set[int]()
        for record in page.records:
            if type(record) is not HashedRecord:
                return {}
            _show(own, record.key, record.row_hash, at)
            if id(record.others) not in shared:
                shared.add(id(record.others))
                for name, key, row_hash in record.others:
                    _show(rows.setdefault(name, {}), key, row_hash, at)
    return rows if own else {}


def _show(shown: dict[Any, Seen], key: Any, row_hash: int, at: datetime) -> None:
    before = shown.get(key)
    if before is not None and before.row_hash != row_hash:
        shown[key] = Seen(None, at)
    else:
        shown[key] = Seen(row_hash, at)


def without_unchanged(
    pages: Sequence[Page], table: str, rows: Rows, stored: Mapping[str, set[Any]]
) -> tuple[Sequence[Page], Unchanged]:
    """Return the pages without the records that need no writing, and these.

    table, rows: as for `rows_of`. stored: the keys of those rows that are stored like this.
    """
    if all(len(stored[name]) == len(shown) for name, shown in rows.items()):
        count = sum(len(page.records) for page in pages)
        return [replace(page, records=[]) for page in pages], Unchanged(count, rows)
    count, left = 0, []
    skipped: dict[str, dict[Any, Seen]] = {name: {} for name in rows}
    for page in pages:
        changed = []
        for record in page.records:
            if record.key in stored[table] and all(
                key in stored[name] for name, key, _ in record.others
            ):
                count += 1
                skipped[table][record.key] = rows[table][record.key]
                for name, key, _ in record.others:
                    skipped[name][key] = rows[name][key]
            else:
                changed.append(record)
        left.append(replace(page, records=changed))
    return left, Unchanged(count, skipped)
