"""Page -> Batch: what all streams share. Records are decoded, repaired and rejected singly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from itertools import repeat
from operator import itemgetter
from typing import Any

from msgspec import Raw, Struct
from msgspec.structs import replace

from etl.core.document import Unreadable, decode_record
from etl.core.drift import Drift
from etl.core.page import (
    Batch,
    HashedRecord,
    Page,
    Record,
    RecordReader,
    Rejected,
    Row,
    TypedRecord,
)
from etl.core.stream import TableSpec, key_text
from etl.errors import InvalidRecord
from etl.transformers.fields import repair, to_json

_LONGEST_KEY = 200

# Adds the rows of one record to the collector; `repaired`: its top-level fields that were repaired.
AddRecord = Callable[["Collector", Mapping[str, Any], list[str]], None]


class _Held(Struct, gc=False):
    """A row that is gathered. index: of the record that it came from."""

    rank: Any
    row: Row
    index: int
    row_hash: int | None


class Collector:
    """Gathers the rows of a page. Of several rows with one key, the row of highest rank stays.

    As in the upsert, a null of a `null_keeps` field overwrites nothing.
    drift: what is known of the page before its records are gone through.
    """

    def __init__(self, tables: Sequence[TableSpec], drift: Iterable[Drift] = ()) -> None:
        self._tables = tables
        self._rows: dict[str, dict[Any, _Held]] = {spec.name: {} for spec in tables}
        self._hashed = {spec.name for spec in tables if spec.hashed}
        self._keeps = {
            spec.name: {spec.columns.index(field.name) for field in spec.fields if field.null_keeps}
            for spec in tables
        }
        self._pending: list[tuple[str, Any, Any, Row]] = []
        self._pending_whole: list[tuple[str, str]] = []
        self._pending_drift: list[Drift] = []
        self._whole: dict[str, list[str]] = {}
        self._drift = dict.fromkeys(drift)
        self._read_fast = 0

    def add(self, table: str, key: Any, rank: Any, row: Row) -> None:
        """Add a row of the current record. Of equal ranks the later row stays."""
        self._pending.append((table, key, rank, row))

    def whole(self, table: str, owner: str) -> None:
        """Note that the current record shows all rows of `table` that belong to `owner`.

        owner: the key of these rows without its last column, as `key_text` writes it.
        """
        self._pending_whole.append((table, owner))

    def note(self, drift: Iterable[Drift]) -> None:
        """Note how the current record differs from the catalogue."""
        self._pending_drift.extend(drift)

    def learned(self, drift: Iterable[Drift]) -> None:
        """Keep how records of this reading differ from the catalogue."""
        self._drift.update(dict.fromkeys(drift))

    def keep(self, index: int) -> None:
        """Keep the rows of the current record, which is the page's `index`-th."""
        for table, key, rank, row in self._pending:
            self._put(table, key, _Held(rank, row, index, None))
        for table, owner in self._pending_whole:
            self._whole.setdefault(table, []).append(owner)
        self._drift.update(dict.fromkeys(self._pending_drift))
        self.drop()

    def take(self, record: TypedRecord, index: int) -> None:
        """Keep the rows of a record that is typed already, the page's `index`-th."""
        self._read_fast += 1
        for table, key, row, row_hash in record.rows:
            held = self._rows[table].get(key)
            # The usual cases: a new key, or the same person again.
            if held is None or held.row != row or held.rank <= record.rank:
                self._put(table, key, _Held(record.rank, row, index, row_hash))

    def take_batch(self, batch: Batch, number: int, *, first: int) -> None:
        """Keep the rows of a batch. number: its rank. first: the index of its first record."""
        for spec in self._tables:
            key_of = itemgetter(*(spec.columns.index(name) for name in spec.key))
            rows, origins = batch.rows.get(spec.name, ()), batch.origins.get(spec.name, ())
            hashes = batch.hashes.get(spec.name) or repeat(None, len(rows))
            for row, origin, row_hash in zip(rows, origins, hashes, strict=True):
                self._put(spec.name, key_of(row), _Held(number, row, first + origin, row_hash))
            for owner in batch.whole.get(spec.name, ()):
                self._whole.setdefault(spec.name, []).append(owner)
        self._drift.update(dict.fromkeys(batch.drift))
        self._read_fast += batch.read_fast

    def times(self, observed_at: Sequence[datetime]) -> dict[str, list[datetime]]:
        """Return for each row the instant that belongs to its rank."""
        return {
            name: [observed_at[held.rank] for held in rows.values()]
            for name, rows in self._rows.items()
        }

    def _put(self, table: str, key: Any, new: _Held) -> None:
        rows = self._rows[table]
        held = rows.get(key)
        if held is None:
            rows[key] = new
            return
        if held.rank <= new.rank:
            held, new = new, held
        # The hash stays that of the record: loading this record again would change nothing.
        rows[key] = replace(held, row=self._filled(table, held.row, new.row))

    def _filled(self, table: str, row: Row, other: Row) -> Row:
        """Return `row` with nulls of `null_keeps` fields filled from `other`."""
        keeps = self._keeps[table]
        return tuple(
            other[place] if value is None and place in keeps else value
            for place, value in enumerate(row)
        )

    def drop(self) -> None:
        """Drop the rows of the current record: it is rejected, or its rows were kept."""
        self._pending.clear()
        self._pending_whole.clear()
        self._pending_drift.clear()

    def batch(self, records: list[Record], rejected: list[Rejected]) -> Batch:
        """Return what was gathered."""
        return Batch(
            records=records,
            rows={name: [held.row for held in rows.values()] for name, rows in self._rows.items()},
            origins={
                name: [held.index for held in rows.values()] for name, rows in self._rows.items()
            },
            hashes={
                name: [held.row_hash for held in self._rows[name].values()] for name in self._hashed
            },
            rejected=rejected,
            whole=self._whole,
            read_fast=self._read_fast,
            drift=list(self._drift),
        )


def transform_page(
    page: Page, tables: Sequence[TableSpec], key: Sequence[str], add: AddRecord
) -> Batch:
    """Return the rows of a page, and its rejected records. Pure; safe to repeat.

    key: the fields whose values are the key of a rejected record. A record that raises
    InvalidRecord is rejected with this reason. Any other exception is a defect in our code and
    stops the stream.
    """
    collector = Collector(tables, page.drift)
    rejected: list[Rejected] = []
    reader: RecordReader | None = None
    for index, record in enumerate(page.records):
        try:
            if type(record) is HashedRecord:
                reader = record.reader
                record = reader.typed(record)
                if type(record) is TypedRecord:
                    collector.take(record, index)
                    continue
            add(collector, *_readable(record, key, dirty=page.dirty))
            collector.keep(index)
        except InvalidRecord as exc:
            collector.drop()
            rejected.append(reject(record, key, exc.message))
    if reader is not None:
        collector.learned(reader.drift)
    return collector.batch(page.records, rejected)


def joined(pages: Sequence[Page], batches: Sequence[Batch], tables: Sequence[TableSpec]) -> Batch:
    """Return the batches of several pages as one. Pure.

    Of rows with one key that of the later page stays. As within a page, a null of a `null_keeps`
    field overwrites nothing; so another run that read the row between the two requests may have
    its value of such a field replaced by that of the earlier page.
    """
    if len(batches) == 1:
        return batches[0]
    collector = Collector(tables)
    records: list[Record] = []
    for number, batch in enumerate(batches):
        collector.take_batch(batch, number, first=len(records))
        records += batch.records
    whole = collector.batch(records, [each for batch in batches for each in batch.rejected])
    whole.observed_at = collector.times([page.observed_at for page in pages])
    return whole


def reject(record: Record, key: Sequence[str], reason: str) -> Rejected:
    """Return `record` for the rejects table. Its key is its own key, or a hash of its content."""
    if isinstance(record, HashedRecord):
        record = record.raw
    if isinstance(record, Raw):
        record, _ = decode_record(record)
    if isinstance(record, Unreadable):
        record = record.text
    payload, _ = repair(record, cut=True)
    named = payload if isinstance(payload, dict) else {}
    values = [named.get(name) for name in key]
    if all(type(value) in (int, str) for value in values):
        name = key_text(values)
        if 0 < len(name) <= _LONGEST_KEY:
            return Rejected(key=name, reason=reason, payload=payload)
    digest = blake2b(to_json(payload).encode(), digest_size=16).hexdigest()
    return Rejected(key=f"sha:{digest}", reason=reason, payload=payload, named=False)


def _readable(
    record: Record, key: Sequence[str], *, dirty: bool
) -> tuple[Mapping[str, Any], list[str]]:
    if isinstance(record, Raw):
        record, dirty = decode_record(record)
    if isinstance(record, Unreadable):
        raise InvalidRecord(record.reason)
    if not isinstance(record, dict):
        raise InvalidRecord(f"expected an object, got {type(record).__name__}")
    for name in key:
        # Part of a longer key may be empty: a property may have an empty name or value.
        if record.get(name) is None or (len(key) == 1 and record[name] == ""):
            raise InvalidRecord(f"{name}: missing")
    if not dirty:
        return record, []
    clean, repaired = {}, []
    for name, value in record.items():
        (clean_name, name_changed), (clean_value, changed) = repair(name), repair(value)
        clean[clean_name] = clean_value
        if changed or name_changed:
            repaired.append(clean_name)
    for name in key:
        if name in repaired:
            raise InvalidRecord(f"{name}: holds characters that Postgres cannot store")
    return clean, repaired
