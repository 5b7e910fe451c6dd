"""What a stream is: a value that says where its records come from and what they become.

A wrong entry fails when the catalogue is imported, not at three in the morning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import quote

from msgspec import Raw

from etl.core.budget import CRUD
from etl.core.page import Batch, Page, Row, TypedRecord


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
    plain: the names in a JSON column whose text is kept where records hold secrets; of any other
    text in it only hash and length are.
    """

    name: str
    kind: Kind
    about: str
    volatile: bool = False
    null_keeps: bool = False
    lenient: bool = False
    plain: tuple[str, ...] = ()


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

    started: the column that windows go by, indexed. ended: the one that says where a row ends, None
    where rows are instants. expiry: how long the source keeps a row, None for ever.
    """

    name: str
    about: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    started: str | None = None
    ended: str | None = None
    expiry: Expiry | None = None

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: a field is declared twice")
        if missing := set(self.key) - set(names):
            raise ValueError(f"{self.name}: key columns without a field: {sorted(missing)}")
        if any(f.volatile or f.null_keeps or f.lenient for f in self.fields if f.name in self.key):
            raise ValueError(f"{self.name}: a key column must be plain")
        named = [name for name in (self.started, self.ended) if name]
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


# The moving end of a stream that is read in windows.
TAIL = "tail"


class Mode(Enum):
    """How a stream is kept current.

    WINDOWS: stretches of time, with a lookback. SNAPSHOT: all of it at every sync, for lists that
    do not say what changed. ROTATION: some resources at every sync, each one by a request of its
    own.
    """

    WINDOWS = "windows"
    SNAPSHOT = "snapshot"
    ROTATION = "rotation"


def key_text(values: Sequence[Any]) -> str:
    """Return a key as one text: the value itself, or several as a JSON array.

    Postgres writes the same text for the same key, see `row_key`.
    """
    if len(values) == 1:
        return str(values[0])
    return json.dumps(list(values), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Address:
    """Where something is asked for, below `/api/projects/:id/`; `{name}` is filled in.

    prefix: the only one under which it answers, None where it does not matter.
    """

    path: str
    params: tuple[tuple[str, str], ...] = ()
    prefix: str | None = None

    def __post_init__(self) -> None:
        if self.path.startswith("/") or not self.path.endswith("/"):
            raise ValueError(f"{self.path}: the path is relative and ends with a slash")

    def takes(self, values: Mapping[str, Any]) -> bool:
        """Tell whether these values can stand in the path: `..` would lead to another one."""
        parts = self.path.split("/")
        return not any(
            f"{{{name}}}" in parts and str(value) in (".", "..") for name, value in values.items()
        )

    def fill(self, values: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
        """Return path and parameters for these values, of which it `takes` all."""
        quoted = {name: quote(str(value), safe="") for name, value in values.items()}
        plain = {name: str(value) for name, value in values.items()}
        params = [(name, text.format_map(plain)) for name, text in self.params]
        return self.path.format_map(quoted), params


@dataclass(frozen=True, slots=True)
class Watched:
    """Which parents are asked about at every sync: those whose row in `table` has a true `column`.

    It is the row whose columns equal the fields that a record of the parent is given.
    """

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class Parents:
    """The stored rows for each of which a resource is asked for.

    fields: what each record is given, from which column of `table`, in the order of its key.
    constant: what it is given besides. where: an SQL condition on the row `t`. expire: the source
    drops them by a rule of its own. watched: which of them are asked about at every sync of a
    rotation.
    """

    table: str
    fields: Mapping[str, str]
    constant: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    expire: bool = False
    watched: Watched | None = None


def results_of(document: Any) -> list[Any] | None:
    """Return the records of a list answer, in either form; None when it is no list."""
    if isinstance(document, dict):
        document = document.get("results")
    return document if isinstance(document, list) else None


# What the catalogue knows of an object: the kind of a field, or what it knows of the objects in it.
Known = Mapping[str, "Kind | Known"]


@dataclass(frozen=True, slots=True)
class Secrets:
    """What makes the records of a resource secret, and what may be kept of them as it is.

    hide: returns a record without its secrets; safe to repeat. known: the fields whose text is
    kept; of any other text only hash and length are.
    """

    hide: Callable[[dict[str, Any]], dict[str, Any]]
    known: Known


@dataclass(frozen=True, slots=True)
class Resource:
    """Something the API offers, and the tables that its records fill.

    lists: where to read it; together they show everything there is. one: where to ask for a single
    record by its key; None where the API does not offer it. The first of `tables` holds the records
    themselves: what vanishes from the lists is marked deleted there, if `mirrors`. key: the fields
    of a record that name it, in the order of that table's key.
    budget_classes: the limits that a list request draws from, retrieve_classes those of a request
    for one record. paged: whether the list comes in pages. created: the field that says since when
    a record is there. order: the field by which the list comes, where that is another one; rows in
    which it is equal may come in any order. repeats: the server may ignore the cursor and show the
    same page again. parents: it is asked for once for each of these.
    records: the records in a document. redact: takes out of a record what is not kept. secrets:
    what is secret in a record, None where nothing is. Both apply before anything else sees it.
    transform: Page -> Batch. read: the fast way from the bytes of a record, None where it is not
    for that record.
    """

    lists: tuple[Address, ...]
    tables: tuple[TableSpec, ...]
    key: tuple[str, ...]
    transform: Callable[[Page], Batch]
    one: Address | None = None
    budget_classes: tuple[str, ...] = (CRUD,)
    retrieve_classes: tuple[str, ...] = (CRUD,)
    paged: bool = True
    mirrors: bool = True
    created: str | None = None
    order: str | None = None
    repeats: bool = False
    parents: Parents | None = None
    records: Callable[[Any], list[Any] | None] = results_of
    redact: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    secrets: Secrets | None = None
    read: Callable[[Raw], TypedRecord | None] | None = None

    def __post_init__(self) -> None:
        if not (self.lists and self.tables and self.budget_classes and self.key):
            raise ValueError("a resource has a list, a table, a key and draws from a budget")
        if len(self.key) != len(self.tables[0].key):
            raise ValueError(f"{self.tables[0].name}: another key than its records")

    def row_key(self, row: Row) -> str:
        """Return the key of a row of the first table as one text."""
        spec = self.tables[0]
        return key_text([row[spec.columns.index(name)] for name in spec.key])


@dataclass(frozen=True, slots=True)
class Stream:
    """What is read together, under one name: one resource, or several that build on each other.

    scope: what the key needs. started: the field that windows go by. off: not read unless it is
    named or switched on.
    """

    name: str
    about: str
    scope: str
    mode: Mode
    resources: tuple[Resource, ...]
    started: str | None = None
    off: bool = False

    def __post_init__(self) -> None:
        if not self.resources:
            raise ValueError(f"{self.name}: a stream has a resource")
        if (self.mode is Mode.WINDOWS) != (self.started is not None):
            raise ValueError(f"{self.name}: windows go by a field, and nothing else does")

    @property
    def unit(self) -> str:
        """The unit that a sync works on, beside project and stream (P10)."""
        return TAIL if self.mode is Mode.WINDOWS else self.mode.value

    @property
    def tables(self) -> tuple[TableSpec, ...]:
        """Every table it fills, in the order of its resources."""
        tables = (table for resource in self.resources for table in resource.tables)
        return tuple(dict.fromkeys(tables))

    @property
    def budget_classes(self) -> tuple[str, ...]:
        """Every limit that its lists draw from."""
        classes = (name for resource in self.resources for name in resource.budget_classes)
        return tuple(dict.fromkeys(classes))
