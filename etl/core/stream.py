"""What a stream is: a value that says where its records come from and what they become.

A wrong entry fails when the catalogue is imported, not at three in the morning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from msgspec import Raw

from etl.core.page import Batch, Page, TypedRecord


class Kind(Enum):
    """The type of a column, named as Postgres names it."""

    TEXT = "text"
    BIGINT = "bigint"
    DOUBLE = "double precision"
    BOOLEAN = "boolean"
    INSTANT = "timestamp with time zone"
    UUID = "uuid"
    JSON = "jsonb"
    TEXTS = "text[]"


@dataclass(frozen=True, slots=True)
class Field:
    """One column, under the API's own name.

    volatile: moves by itself; stored with the next real change, left out of every comparison.
    null_keeps: null or absent means "the server does not say" and never overwrites a value.
    lenient: a value that does not fit the column is kept in `extra`, and the row loads.
    """

    name: str
    kind: Kind
    about: str
    volatile: bool = False
    null_keeps: bool = False
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class Expiry:
    """How long the source keeps a row, by columns of its table.

    at: when it expires. Where that is null: at midnight at the beginning of the day of `started`,
    plus `days`, or `default_days` where that is null, too (PostHog source,
    session_recording_list_from_query.py).
    """

    at: str
    started: str
    days: str
    default_days: int


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table of the destination; `project_id` stands before `key` in its primary key.

    started: the column that windows go by, indexed. expiry: how long the source keeps a row, None
    for ever.
    """

    name: str
    about: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    started: str | None = None
    expiry: Expiry | None = None

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: a field is declared twice")
        if missing := set(self.key) - set(names):
            raise ValueError(f"{self.name}: key columns without a field: {sorted(missing)}")
        if any(f.volatile or f.null_keeps or f.lenient for f in self.fields if f.name in self.key):
            raise ValueError(f"{self.name}: a key column must be plain")
        named = [self.started] if self.started else []
        if self.expiry is not None:
            named += [self.expiry.at, self.expiry.started, self.expiry.days]
        if missing := set(named) - set(names):
            raise ValueError(f"{self.name}: no such fields: {sorted(missing)}")
        if not self.about or not all(field.about for field in self.fields):
            raise ValueError(f"{self.name}: every table and field says what it is")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row as a transformer makes it, in order."""
        return (*(field.name for field in self.fields), "extra", "_repaired")


@dataclass(frozen=True, slots=True)
class Stream:
    """One resource of the API and the tables it fills.

    path: below `/api/projects/:id/`, with its last slash. scope: what the key needs.
    key: the field of a record that names it in the rejects table. started: the field a window
    goes by. budget_classes: the limits that a list request draws from, retrieve_classes those of a
    request for one record. transform: Page -> Batch. The first of `tables` holds the records
    themselves; what vanishes from the list is marked deleted there.
    read: the fast way from the bytes of a record, None where it is not for that record.
    """

    name: str
    about: str
    path: str
    scope: str
    key: str
    started: str
    budget_classes: tuple[str, ...]
    retrieve_classes: tuple[str, ...]
    tables: tuple[TableSpec, ...]
    transform: Callable[[Page], Batch]
    read: Callable[[Raw], TypedRecord | None] | None = None

    def __post_init__(self) -> None:
        if self.path.startswith("/") or not self.path.endswith("/"):
            raise ValueError(f"{self.name}: the path is relative and ends with a slash")
        if not self.tables or not self.budget_classes:
            raise ValueError(f"{self.name}: a stream has a table and draws from a budget")
