"""What a stream is: a value that says where records come from and which rows they become.

A wrong entry raises when the catalogue is imported, before any run starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from msgspec import Struct, field

from etl.core.budget import CRUD
from etl.core.growing import Growth
from etl.core.identity import Identifier, Identity, identifiers_of
from etl.core.page import Batch, Page, RecordReader, Row

if TYPE_CHECKING:
    from etl.core.query import QuerySpec


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
    NUMERIC = "numeric"
    DATE = "date"

    @property
    def json_type(self) -> str | None:
        """The JSON type that the API sends; None: any."""
        return _JSON_TYPES.get(self)


_JSON_TYPES = {
    Kind.TEXT: "string",
    Kind.BIGINT: "integer",
    Kind.DOUBLE: "number",
    Kind.BOOLEAN: "boolean",
    Kind.INSTANT: "string",
    Kind.UUID: "string",
    Kind.TEXTS: "array",
    Kind.NUMERIC: "number",
    Kind.DATE: "string",
}


class Field(Struct, frozen=True):
    """One column, under the API's own name.

    volatile: changes by itself; stored with the next real change, and ignored by every comparison.
    null_keeps: null or absent means "the server does not say", so it never overwrites a value.
    lenient: a value that does not fit the column is kept in `extra`, and the row loads.
    or_text: the documentation shows a number as text, so any form of a number is expected.
    plain: for a JSON column of records with secrets: the names in it whose text is kept; `a.b` is
    b in the objects of a. Of all other text only hash and length are kept.
    after_days: of a volatile instant: once it is so many days later than what is stored, it is
    stored even if nothing else has changed. None: never by itself.
    """

    name: str
    kind: Kind
    about: str
    volatile: bool = False
    null_keeps: bool = False
    lenient: bool = False
    or_text: bool = False
    plain: tuple[str, ...] = ()
    after_days: int | None = None

    def expects(self, json_type: str) -> bool:
        """Tell whether a value of this JSON type is as the catalogue says."""
        usual = self.kind.json_type
        return (
            json_type in (usual, "null")
            or usual is None
            or (json_type == "integer" and usual == "number")
            or (json_type in ("string", "number") and self.or_text)
        )


class Expiry(Struct, frozen=True):
    """How long the source keeps a row, by columns of its table.

    at: the column with the instant at which the row expires. If it is null, the row expires `days`
    after midnight at the beginning of the day of `started`; if `days` is null, `default_days` after
    it (PostHog source, session_recording_list_from_query.py).
    """

    at: str
    started: str
    days: str
    default_days: int


class TableSpec(Struct, frozen=True, dict=True):
    """One table of the destination. Its primary key is `project_id`, then `key`.

    started: the column by which windows are cut; it has an index.
    ended: the column with the end of what a row describes; None if rows are instants.
    indexed: a further column with an index; None if there is none.
    expiry: how long the source keeps a row; None if for ever.
    hashed: whether the column `_hash` holds a hash of what became of a row, so that a record that
    did not change is recognised without being typed.
    identities: the columns that name a person, a distinct id or a recording.
    mentions: columns with JSON that may name others than the identities of the row.
    queried: whether it is filled by a configured query, and so in the schema of these tables.
    """

    name: str
    about: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    started: str | None = None
    ended: str | None = None
    indexed: str | None = None
    expiry: Expiry | None = None
    hashed: bool = False
    identities: tuple[Identity, ...] = ()
    mentions: tuple[str, ...] = ()
    queried: bool = False

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: a field is declared twice")
        if missing := set(self.key) - set(names):
            raise ValueError(f"{self.name}: key columns without a field: {sorted(missing)}")
        if any(f.volatile or f.null_keeps or f.lenient for f in self.fields if f.name in self.key):
            raise ValueError(f"{self.name}: a key column must be plain")
        for f in self.fields:
            # A hash tells only whether fields that are not volatile have changed.
            fits = f.volatile and f.kind is Kind.INSTANT and not self.hashed
            if f.after_days is not None and not fits:
                raise ValueError(f"{self.name}: only volatile instants are stored after some days")
        named = [name for name in (self.started, self.ended, self.indexed) if name]
        if self.expiry is not None:
            named += [self.expiry.at, self.expiry.started, self.expiry.days]
        named += [*(each.column for each in self.identities), *self.mentions]
        if missing := set(named) - set(names):
            raise ValueError(f"{self.name}: no such fields: {sorted(missing)}")
        if not self.about or not all(field.about for field in self.fields):
            raise ValueError(f"{self.name}: every table and field says what it is")

    @property
    def unique_name(self) -> str:
        """Its name among all data tables: a query may have the name of another one."""
        return f"query:{self.name}" if self.queried else self.name

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row as a transformer makes it, in order."""
        return (*(field.name for field in self.fields), "extra", "_repaired")

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """The columns with JSON that may name a person whom the row itself does not name.

        In a table with identities the others, but for `mentions`, are about the person of the row.
        """
        if self.identities:
            return ("extra", *self.mentions)
        return (*(field.name for field in self.fields if field.kind is Kind.JSON), "extra")

    def identifiers_of(self, row: Row) -> list[Identifier]:
        """Return the persons, distinct ids and recordings that a row names."""
        return identifiers_of(self.identities, self._places, row)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.columns)}


# The unit of a sync of a stream that is read in windows.
TAIL = "tail"
# The units in which `verify` compares source and destination: keys, or contents.
VERIFY, VERIFY_DEEP = "verify", "verify deep"
# The unit that compares the contents of a slice of the past, day by day.
VERIFY_SLICE = "verify slice"
COMPARISONS = (VERIFY, VERIFY_DEEP, VERIFY_SLICE)
# The unit in which `verify --repair` loads single records again.
REPAIR = "repair"
# The unit in which a stream is read anew.
RESYNC = "resync"
# The units of `verify`: what they find is no state of the stream.
OF_VERIFY = (*COMPARISONS, REPAIR)


class Mode(Enum):
    """How a stream is kept current.

    WINDOWS: a sync reads a window of time, with a lookback.
    SNAPSHOT: a sync reads the whole list, because the list does not say what changed.
    ROTATION: a sync reads some resources, each by a request of its own.
    QUERY: a sync asks a configured query, by its cursor or as a whole.
    """

    WINDOWS = "windows"
    SNAPSHOT = "snapshot"
    ROTATION = "rotation"
    QUERY = "query"


def key_text(values: Sequence[Any]) -> str:
    """Return a key as one text: the value itself, or several values as a JSON array.

    The SQL of `row_key` in `loaders/statements.py` writes the same text for the same key.
    """
    if len(values) == 1:
        return str(values[0])
    return json.dumps(list(values), ensure_ascii=False)


class Address(Struct, frozen=True):
    """The address of a list or of one record; `{name}` is filled in.

    path: below `/api/projects/:id/`; below the host if it begins with a slash.
    prefix: the only prefix under which it answers; None if every prefix works.
    given: what each record of this list is given, because the records themselves do not say it.
    """

    path: str
    params: tuple[tuple[str, str], ...] = ()
    prefix: str | None = None
    given: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path.endswith("/"):
            raise ValueError(f"{self.path}: the path ends with a slash")
        if self.path.startswith("/") and self.prefix is not None:
            raise ValueError(f"{self.path}: only a path below a project has a prefix")

    def takes(self, values: Mapping[str, Any]) -> bool:
        """Tell whether the path can hold these values; `..` would lead to another path."""
        parts = self.path.split("/")
        return not any(
            f"{{{name}}}" in parts and str(value) in (".", "..") for name, value in values.items()
        )

    def fill(self, values: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
        """Return path and parameters for these values. All of them must pass `takes`."""
        quoted = {name: quote(str(value), safe="") for name, value in values.items()}
        plain = {name: str(value) for name, value in values.items()}
        params = [(name, text.format_map(plain)) for name, text in self.params]
        return self.path.format_map(quoted), params

    def below_host(
        self, values: Mapping[str, Any], project_id: int, prefix: str
    ) -> tuple[str, list[tuple[str, str]]]:
        """Return the path below the host and the parameters for these values.

        prefix: the prefix of the project if the address does not name its own.
        """
        path, params = self.fill(values)
        if not path.startswith("/"):
            path = f"/api/{self.prefix or prefix}/{project_id}/{path}"
        return path, params


class Watched(Struct, frozen=True):
    """Which parents every sync asks about: those whose row in `table` has true in `column`.

    That row is the one whose columns equal the `fields` of the parent.
    """

    table: str
    column: str


class Parents(Struct, frozen=True):
    """The stored rows for which a resource is asked for, one request or list per row.

    fields: what each record is given: field name to column of `table`, in the order of its key.
    constant: further fields that each record is given.
    where: an SQL condition on the row `t`.
    expire: whether the source drops these rows by a rule of its own.
    watched: the rows that every sync of a rotation asks about.
    unchanged: columns of `table` that change whenever the lists of a row do. A sync reads the lists
    of a row only if one of these is null, or differs from what it was when all of the lists was
    read last. Empty: every sync reads all of them.
    """

    table: str
    fields: Mapping[str, str]
    constant: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    expire: bool = False
    watched: Watched | None = None
    unchanged: tuple[str, ...] = ()


class Owned(Struct, frozen=True):
    """Rows that are gone with the record whose key stands in `column` of their table."""

    table: str
    column: str


def results_of(document: Any) -> list[Any] | None:
    """Return the records of a list answer, in either form; None if it is no list."""
    if isinstance(document, dict):
        document = document.get("results")
    return document if isinstance(document, list) else None


# What the catalogue knows of an object: per field its kind, or the same for the objects in it.
Known = Mapping[str, "Kind | Known"]


class Secrets(Struct, frozen=True):
    """What is secret in the records of a resource, and what may be kept unchanged.

    hide: returns a record without its secrets; safe to repeat.
    known: the fields whose text is kept. Of all other text only hash and length are kept.
    """

    hide: Callable[[dict[str, Any]], dict[str, Any]]
    known: Known


class Resource(Struct, frozen=True):
    """One kind of record that the API offers, and the tables that these records fill.

    lists: the addresses to read; together they show every record.
    tables: the first holds the records themselves.
    key: the fields of a record that name it, in the order of the key of the first table.
    transform: Page -> Batch.
    one: the address of a single record by its key; None if the API has none. Not where lists give
    their records fields, because a single record would lack them.
    budget_classes: the limits that a list request draws from.
    retrieve_classes: the limits that a request for one record draws from.
    paged: whether the list comes in pages.
    mirrors: whether a record that vanishes from the lists is marked deleted in the first table.
    owned: rows of its other tables that are marked deleted when their record is.
    created: the field with the instant since which a record exists.
    order: the field by which the list is ordered, if that is not `created`. Rows with equal values
    may come in any order.
    repeats: whether the server may ignore the cursor and return the same page again.
    parents: the resource is asked for once for each of these.
    growth: how the list grows, if rows are only added to it. A sync then reads what is new, and
    nothing that a reading does not show is judged. None: a sync reads all of it.
    project: the field with the id of a record's project, if the list shows several projects. The
    records of other projects are left out.
    records: returns the records in a document.
    redact: removes what is not kept from a record, before anything else sees it.
    secrets: what is secret in a record, removed before anything else sees it; None if nothing is.
    reader: returns a new reader of records. What it learns is true of one server, so each run uses
    its own. None: all records are decoded.
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
    owned: tuple[Owned, ...] = ()
    created: str | None = None
    order: str | None = None
    repeats: bool = False
    parents: Parents | None = None
    growth: Growth | None = None
    project: str | None = None
    records: Callable[[Any], list[Any] | None] = results_of
    redact: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    secrets: Secrets | None = None
    reader: Callable[[], RecordReader] | None = None

    def __post_init__(self) -> None:
        if not (self.lists and self.tables and self.budget_classes and self.key):
            raise ValueError("a resource has a list, a table, a key and draws from a budget")
        if len(self.key) != len(self.tables[0].key):
            raise ValueError(f"{self.tables[0].name}: its key differs from that of its records")
        named = {tuple(address.given) for address in self.lists}
        if len(named) > 1 or (self.one is not None and named != {()}):
            raise ValueError(f"{self.tables[0].name}: not every record is given the same fields")
        if self.growth is not None and (self.mirrors or not self.paged or len(self.lists) > 1):
            raise ValueError(
                f"{self.tables[0].name}: a list that grows is one list in pages, whose rows stay"
            )
        if self.skips and not (self.mirrors and self.paged and self.growth is None):
            raise ValueError(
                f"{self.tables[0].name}: only whole lists in pages, whose rows are judged, are "
                "left out while their parent is unchanged"
            )

    @property
    def skips(self) -> bool:
        """Whether a sync leaves out lists whose parent is unchanged."""
        return self.parents is not None and bool(self.parents.unchanged)

    def row_key(self, row: Row) -> str:
        """Return the key of a row of the first table as one text."""
        spec = self.tables[0]
        return key_text([row[spec.columns.index(name)] for name in spec.key])


class Costly(Struct, frozen=True):
    """What `plan` advises if more than `rows` rows are stored in the first table of a stream."""

    rows: int
    advice: str


class Stream(Struct, frozen=True):
    """What is read together under one name: one resource, or several that build on each other.

    scope: the scope that the key needs; several with a space between, as OAuth writes them.
    started: the field by which windows are cut.
    off: whether it is read only if it is named or enabled.
    costly: from how many rows on something else is cheaper; None if nothing is.
    query: the configured query; None for a stream of the catalogue.
    """

    name: str
    about: str
    scope: str
    mode: Mode
    resources: tuple[Resource, ...]
    started: str | None = None
    off: bool = False
    costly: Costly | None = None
    query: QuerySpec | None = None

    def __post_init__(self) -> None:
        if not self.resources:
            raise ValueError(f"{self.name}: a stream has a resource")
        if (self.mode is Mode.WINDOWS) != (self.started is not None):
            raise ValueError(f"{self.name}: windows go by a field, and nothing else does")
        if sum(resource.growth is not None for resource in self.resources) > 1:
            raise ValueError(f"{self.name}: a stream has one list that grows, or none")
        if sum(resource.skips for resource in self.resources) > 1:
            raise ValueError(f"{self.name}: a stream leaves out lists of one resource, or of none")

    @property
    def scopes(self) -> tuple[str, ...]:
        """Each scope that the key needs."""
        return tuple(self.scope.split())

    @property
    def unit(self) -> str:
        """The unit of a sync, within project and stream (P10)."""
        return TAIL if self.mode is Mode.WINDOWS else self.mode.value

    @property
    def tables(self) -> tuple[TableSpec, ...]:
        """Every table that the stream fills, in the order of its resources."""
        tables = (table for resource in self.resources for table in resource.tables)
        return tuple(dict.fromkeys(tables))

    @property
    def mirrored(self) -> tuple[TableSpec, ...]:
        """The tables in which the stream marks what is gone."""
        return tuple(each.tables[0] for each in self.resources if each.mirrors)

    def builds_on(self, other: Stream) -> bool:
        """Tell whether this stream is read after `other`.

        Because a resource is asked for once per row of it, or because this stream completes it.
        """
        filled = {table.name for table in other.tables}
        parents = (resource.parents for resource in self.resources)
        asked = self.name != other.name and any(
            p is not None and p.table in filled for p in parents
        )
        return asked or self.completes(other)

    def completes(self, other: Stream) -> bool:
        """Tell whether it marks what is gone in a table that `other` fills and does not mark."""
        companions = {*other.tables} - {*other.mirrored}
        return self.name != other.name and not companions.isdisjoint(self.mirrored)

    @property
    def budget_classes(self) -> tuple[str, ...]:
        """Every limit that requests for its lists draw from."""
        classes = (name for resource in self.resources for name in resource.budget_classes)
        return tuple(dict.fromkeys(classes))
