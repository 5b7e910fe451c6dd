"""What must be true of the tables, given the sandbox's truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from etl.core.stream import Field, Kind
from etl.streams import TABLE_SPECS
from tests.support.truth import TABLES

Row = Mapping[str, Any]
RECORDINGS = "session_recordings"


@dataclass
class Found:
    """What was found wrong, in words, by kind."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Add the findings of `other`."""
        for name in ("lost", "doubled", "stale", "false"):
            getattr(self, name).extend(getattr(other, name))

    def words(self) -> list[str]:
        """Return all findings."""
        kinds = {name: getattr(self, name) for name in ("lost", "doubled", "stale", "false")}
        return [f"{name}: {text}" for name, texts in kinds.items() for text in texts]


@dataclass(frozen=True)
class Truth:
    """What a perfect reader would store at one instant, by table and key, ready to be compared."""

    at: datetime
    tables: Mapping[str, Mapping[str, Row]]

    @property
    def recordings(self) -> Mapping[str, Row]:
        """The recordings."""
        return self.tables[RECORDINGS]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Truth:
        """Parse the answer of the sandbox's control."""
        tables = {
            name: {
                str(row[TABLE_SPECS[name].key[0]]): {
                    field.name: _value(field, row.get(field.name))
                    for field in TABLE_SPECS[name].fields
                }
                for row in document[name]
            }
            for name in TABLES
        }
        return cls(datetime.fromisoformat(document["now"]), tables)


@dataclass(frozen=True)
class Copy:
    """What is stored, by table and key."""

    tables: Mapping[str, Mapping[str, Row]]
    doubled: tuple[str, ...]

    @property
    def recordings(self) -> Mapping[str, Row]:
        """The recordings, also those marked deleted or expired."""
        return self.tables[RECORDINGS]

    @classmethod
    def read(cls, stored: Callable[[str], list[dict[str, Any]]]) -> Copy:
        """Read the data tables."""
        tables, doubled = {}, []
        for name in TABLES:
            key = TABLE_SPECS[name].key[0]
            rows = stored(name)
            tables[name] = {str(row[key]): row for row in rows}
            if len(tables[name]) < len(rows):
                doubled.append(f"{name}: {len(rows) - len(tables[name])} keys twice")
        return cls(tables, tuple(doubled))


def is_alive(row: Row) -> bool:
    """Tell whether a stored recording is marked neither deleted nor expired."""
    return row["_deleted_at"] is None and row["_expired_at"] is None


def differences(name: str, want: Row, have: Row) -> Iterator[str]:
    """Yield where a stored row differs from the true row. Volatile columns are ignored.

    A value that the present server does not send stays as an earlier server sent it.
    """
    for column in TABLE_SPECS[name].fields:
        value, held = want[column.name], have[column.name]
        if column.volatile or (value is None and column.null_keeps):
            continue
        if column.kind is Kind.UUID and held is not None:
            held = str(held)
        if value != held:
            yield f"{name} {column.name}: {held!r} instead of {value!r}"
    if have["extra"] is not None:
        yield f"{name} extra: {have['extra']!r}"


def compare(
    before: Truth, after: Truth, copy: Copy, wanted: Callable[[datetime], bool], *, whole: bool
) -> Found:
    """Compare what was read with the truth, except what changed during the reading.

    wanted: tells which starts were read.
    whole: everything was read, so persons are compared too.
    """
    found = Found(doubled=list(copy.doubled))
    for key, row in after.recordings.items():
        if before.recordings.get(key) != row or not wanted(row["start_time"]):
            continue
        have = copy.recordings.get(key)
        if have is None or not is_alive(have):
            found.lost.append(f"{key} {'' if have is None else 'is marked as gone'}")
        else:
            found.stale += [f"{key} {words}" for words in differences(RECORDINGS, row, have)]
    for key, have in copy.recordings.items():
        gone = key not in before.recordings and key not in after.recordings
        if gone and is_alive(have) and wanted(have["start_time"]):
            found.stale.append(f"{key} is gone and not marked")
    if whole:
        for name in TABLES[1:]:
            for key, row in after.tables[name].items():
                if before.tables[name].get(key) != row:
                    continue
                if (held := copy.tables[name].get(key)) is None:
                    found.lost.append(f"{name} {key}")
                else:
                    found.stale += [f"{key} {words}" for words in differences(name, row, held)]
    return found


def compare_marks(
    before: Copy, after: Copy, seen: Truth, fate: Callable[[str], str | None]
) -> Found:
    """Look for wrong marks, and for rows that were removed or invented.

    fate: returns what happened to a recording at the source: "deleted" or other; None if it never
    existed.
    """
    found = Found()
    for key in before.recordings.keys() - after.recordings.keys():
        found.lost.append(f"{key} was removed")
    for key, row in after.recordings.items():
        old, became = before.recordings.get(key), fate(key)
        if became is None:
            found.doubled.append(f"{key} was made up")
        if is_alive(row) or (old is not None and not is_alive(old)):
            continue
        deleted_at, expired_at, expires_at = (
            row["_deleted_at"], row["_expired_at"], row["expiry_time"]
        )  # fmt: skip
        if deleted_at is not None and expired_at is not None:
            found.false.append(f"{key} is both deleted and expired")
        if key in seen.recordings:
            found.false.append(f"{key} is there, and was marked as gone")
        # A recording that vanished because of a shorter retention looks deleted to the pipeline.
        elif deleted_at is not None and became != "deleted" and expires_at <= seen.at:
            found.false.append(f"{key} expired at {expires_at}, and was marked deleted")
        elif expired_at is not None and expires_at > seen.at:
            found.false.append(f"{key} expires at {expires_at}, and was marked expired")
    return found


def _value(column: Field, value: Any) -> Any:
    if value is None:
        return None
    if column.kind is Kind.INSTANT:
        at = datetime.fromisoformat(value)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    if column.kind is Kind.DOUBLE:
        return float(value)
    if column.kind is Kind.UUID:
        return str(value)
    return value
