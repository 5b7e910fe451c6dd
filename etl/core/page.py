"""The values that flow: a page of records comes in, a batch of rows goes out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Protocol

from msgspec import Raw, Struct, field
from msgspec.structs import replace

from etl.core.drift import Drift
from etl.core.growing import ListRead
from etl.core.place import Evidence, Place, WholeLists

Record = Any  # JSON as received: nearly always an object, but nothing promises it
Row = tuple[Any, ...]


class HashedRecord(Struct, gc=False):
    """A record that is not typed yet; see `etl.transformers.hashed`.

    raw: as received. key and started_at: what names it and what a window goes by. row_hash: the
    hash of its row in the first table. others: of each further row that becomes of it, the table,
    the key in that table, and the hash; records with one person may share this list. reader: types
    the record.
    """

    raw: Raw
    key: str
    started_at: datetime | None
    row_hash: int
    others: Sequence[tuple[str, Any, int]]
    reader: RecordReader


class TypedRecord(Struct, gc=False):
    """The rows of a record, read straight from its bytes; see `etl.transformers.typed`.

    rank: which of several rows with one key stays (see `Collector`). rows: table, key in that
    table, row, and its hash.
    """

    rank: Any
    rows: list[tuple[str, Any, Row, int]]


class RecordReader(Protocol):
    """Hashes records from their bytes, types them when asked, and learns from surprises."""

    @property
    def drift(self) -> Collection[Drift]:
        """What it has learned, so that records which differ like this are typed; bounded."""

    def read(self, raw: Raw) -> Record:
        """Return the record hashed, or else decoded."""

    def typed(self, record: HashedRecord) -> Record:
        """Return the record typed, or else decoded."""


class Page(Struct, frozen=True):
    """One response, and where reading goes on after it.

    records: as received, without those that may be cut; most are hashed already.
    dirty: a record may hold what Postgres cannot (NUL, half surrogates, NaN), so each one is looked
    through.
    observed_at: when the request went out, by the database's clock.
    source_at: what clocks agreed on then, None where no two did.
    place: committed with the rows; a later run goes on from it. None where nothing is resumed.
    asked: the (date_from, date_to) that may have cut records; None if nothing can be cut.
    checked: keys of resources that were asked about.
    tried: keys of resources for which the request failed.
    drift: how records of this reading differ from the catalogue, as far as its reader has learned
    it. Also from records that are on no page, because no later record tells of it.
    read: the list that ends with this page, if it is one that grows and all of it is known now.
    whole: the lists that end with this page, if they may be left out while their parent is
    unchanged.
    """

    records: list[Record]
    dirty: bool
    observed_at: datetime
    size_bytes: int
    place: Place | None = None
    source_at: datetime | None = None
    forecast_records: int | None = None
    evidence: Evidence | None = None
    asked: tuple[datetime, datetime] | None = None
    checked: Sequence[str] = ()
    tried: Sequence[str] = ()
    drift: Collection[Drift] = ()
    read: ListRead | None = None
    whole: WholeLists | None = None

    def goes_with(self, later: Page) -> bool:
        """Tell whether one transaction can load both pages.

        Not if they were asked for with other dates, if the clocks agreed for only one of them, or
        if one says which resources were checked.
        """
        return (
            self.asked == later.asked
            and (self.source_at is None) == (later.source_at is None)
            and not (self.checked or self.tried or later.checked or later.tried)
        )

    def joined(self, later: Page) -> Page:
        """Return one page of the records of both; `later` was asked for after this one."""
        keys = [key for each in (self, later) if each.evidence for key in each.evidence.keys]
        return replace(
            self,
            records=[*self.records, *later.records],
            dirty=self.dirty or later.dirty,
            size_bytes=self.size_bytes + later.size_bytes,
            evidence=Evidence(keys),
        )


class Confirmation(Struct, frozen=True):
    """What the source says about records that were asked for by their keys.

    page: the records that exist.
    gone: keys of the records that do not exist.
    existing: keys of records that were asked for by a request of their own, and that exist or are
    hidden from the key's owner.
    failed: keys of records whose request failed; why_failed: the reason of the last failure.
    proven: False if a record that is known to exist was not found either. Then nothing is gone.
    """

    page: Page
    gone: Sequence[str]
    existing: Sequence[str]
    failed: Sequence[str]
    why_failed: str = ""
    proven: bool = True

    def joined(self, later: Confirmation) -> Confirmation:
        """Return what two questions for different records have found, one after the other."""
        return Confirmation(
            self.page.joined(later.page),
            [*self.gone, *later.gone],
            [*self.existing, *later.existing],
            [*self.failed, *later.failed],
            later.why_failed or self.why_failed,
            self.proven and later.proven,
        )


class Rejected(Struct, frozen=True):
    """A rejected record: named by `key`, with the reason and the record itself.

    named: False when the record's own key cannot be read, so that `key` is made from its content.
    """

    key: str
    reason: str
    payload: Any
    named: bool = True


class Batch(Struct):
    """What one transaction loads: rows by table, each key at most once, and rejects.

    origins[table][i] is the index in `records` of the record that row i came from.
    whole[table] names owners, of which the batch shows every row of that table (see
    `Collector.whole`).
    observed_at[table][i]: when row i was asked for, by the database's clock; empty for a batch of
    one page.
    hashes[table][i]: the hash of row i, None if it was read field by field. Empty if none has one.
    read_fast: how many of the records were typed from their bytes, a count.
    drift: how records differ from the catalogue, each difference once.
    """

    records: list[Record]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    origins: dict[str, list[int]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    whole: dict[str, list[str]] = field(default_factory=dict)
    observed_at: dict[str, list[datetime]] = field(default_factory=dict)
    hashes: dict[str, list[int | None]] = field(default_factory=dict)
    read_fast: int = 0
    drift: Collection[Drift] = ()
