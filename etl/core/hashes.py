"""Which records of a batch are stored as they came: the hashes of their rows tell.

A record is unchanged only if each row that becomes of it is: the recording, its person, and the
person's distinct ids. Rows are compared and not whole records, because another record may have
written one of them since (A -> B -> A).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from etl.core.page import HashedRecord, Page


class Seen(NamedTuple):
    """What a batch shows of a row. row_hash: None if its pages differ about the row."""

    row_hash: int | None
    observed_at: datetime


# By table, and by the key in that table.
Rows = Mapping[str, Mapping[Any, Seen]]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Records that need no writing.

    records: how many they are, a count. rows: the rows that become of them.
    certain: whether no other run read the stream when they were compared. Otherwise one that asked
    earlier may have written since.
    """

    records: int
    rows: Rows
    certain: bool


def rows_of(pages: Sequence[Page]) -> Rows:
    """Return what pages show of each row. Empty if a record was decoded: its rows are not known."""
    rows: dict[str, dict[Any, Seen]] = {}
    for page in pages:
        at = page.observed_at
        for record in page.records:
            if type(record) is not HashedRecord:
                return {}
            for table, key, row_hash in record.hashes:
                held = rows.setdefault(table, {})
                before = held.get(key)
                if before is not None and before.row_hash != row_hash:
                    held[key] = Seen(None, at)
                elif before is None or before.observed_at != at:
                    held[key] = Seen(row_hash, at)
    return rows


def without_unchanged(
    pages: Sequence[Page], rows: Rows, stored: Mapping[str, set[Any]], *, certain: bool
) -> tuple[Sequence[Page], Unchanged]:
    """Return the pages without the records that need no writing, and these.

    rows: as `rows_of` returns them. stored: the keys of those rows whose hash is stored.
    """
    if all(len(stored[table]) == len(keys) for table, keys in rows.items()):
        count = sum(len(page.records) for page in pages)
        return [replace(page, records=[]) for page in pages], Unchanged(count, rows, certain)
    count, left = 0, []
    skipped: dict[str, dict[Any, Seen]] = {table: {} for table in rows}
    for page in pages:
        changed = []
        for record in page.records:
            if all(key in stored[table] for table, key, _ in record.hashes):
                count += 1
                for table, key, _ in record.hashes:
                    skipped[table][key] = rows[table][key]
            else:
                changed.append(record)
        left.append(replace(page, records=changed))
    return left, Unchanged(count, skipped, certain)
