"""Configured queries: what they say, and how one is read page by page without OFFSET.

A query is read by keyset: each page begins after the last row of the page before, in the order of
the cursor and the key, or of the key alone. Rows with equal times are so neither lost nor doubled
at the edge of a page, which a comparison of times alone would do (the example in PostHog's docs
does). The server may lower LIMIT without a word, so only an empty page is the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from etl.core.identity import Identity, Names
from etl.core.lookback import Lookback
from etl.core.place import Instant, Place
from etl.core.stream import Field, Kind, TableSpec

PREFIX = "query:"
# How many rows the first page asks for; what it weighs decides about the others.
FIRST_ROWS = 1_000
# Well below HogQL's own cap of 50,000 (PostHog source, hogql/constants.py).
MOST_ROWS = 20_000
FEWEST_ROWS = 50
# What an answer should weigh at most, in bytes.
ANSWER_BYTES = 8 * 1024 * 1024
# A stretch is not halved below this.
SHORTEST_STRETCH = timedelta(minutes=1)
# After so many parts without trouble they grow again.
_CALM_PARTS = 3

_NAME = re.compile("[a-z][a-z0-9_]{0,47}")
_WRAPPED = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)", re.DOTALL)
_PRECISION = re.compile(r"DateTime64\((\d+)")
_PLACEHOLDER = re.compile(r"\{\s*(since|until|reach)\s*\}")
# A semicolon at the end, and comments after it.
_LAST_MARKS = re.compile(r";[;\s]*((?:--[^\n']*\s*)*)\Z")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPED = "escaped"
# Types that are compared with instants; toDate knows no day before 1970.
_TIMES = ("DateTime", "Date32")
_INTEGER = re.compile(r"U?Int(8|16|32|64)")
_BY_TYPE: Mapping[str, Kind] = {
    "UUID": Kind.UUID,
    "Bool": Kind.BOOLEAN,
    "Boolean": Kind.BOOLEAN,
    "Date": Kind.DATE,
    "Date32": Kind.DATE,
    "Float32": Kind.DOUBLE,
    "Float64": Kind.DOUBLE,
    "String": Kind.TEXT,
    "Nothing": Kind.TEXT,
    "IPv4": Kind.TEXT,
    "IPv6": Kind.TEXT,
}
# Kinds that a key may have: all others are stored as text there.
_KEY_KINDS = (Kind.TEXT, Kind.BIGINT, Kind.UUID)
# Columns that every data table has, beside those of its query.
OURS = frozenset(
    {"project_id", "extra", "_repaired", "_observed_at", "_first_seen_at", "_updated_at", "_xid"}
    | {"_deleted_at"}
)
# Names that Postgres keeps for itself, and those of the staging of a batch.
_TAKEN = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "_place", "_hash"})
# Of Postgres, in bytes.
_LONGEST_COLUMN = 63
# Columns of these names and kinds say whose a row is, so `forget` finds it.
_WHOSE: Mapping[str, tuple[Names, Kind]] = {
    "person_id": (Names.PERSON, Kind.UUID),
    "person_uuid": (Names.PERSON, Kind.UUID),
    "distinct_id": (Names.DISTINCT_ID, Kind.TEXT),
    "session_id": (Names.RECORDING, Kind.TEXT),
    "$session_id": (Names.RECORDING, Kind.TEXT),
}


class QuerySpec(Struct, frozen=True):
    """A configured query.

    text: HogQL. It may hold {since}, {until} and {reach}, which are filled as text in UTC.
    key: the columns that name a row. cursor: the column with the time by which it is read in
    increments; None: each reading reads all of it.
    settle: rows younger than this are left to the next reading. lookback: how much before the last
    reading is read again. every: how often it is read at most.
    reach: how old rows may be by a time other than the cursor ({reach} in the text), by grades.
    documents: text columns that hold JSON. later_wins: rows with one key and different times are
    copies of one row, of which the later one stays.
    place: where it is configured, for errors. others: queries to try if the server refuses this
    one as wrong.
    """

    name: str
    text: str
    key: tuple[str, ...]
    cursor: str | None = None
    settle: timedelta = timedelta(minutes=5)
    lookback: timedelta = timedelta(hours=1)
    every: timedelta = timedelta(0)
    reach: Lookback | None = None
    documents: tuple[str, ...] = ()
    later_wins: bool = False
    about: str = ""
    place: str = ""
    others: tuple[QuerySpec, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("a name has small letters, digits and _, and begins with a letter")
        if not self.text.strip():
            raise ValueError("it has no query")
        if not self.key:
            raise ValueError("it names no key")
        if any("`" in name or not name for name in self.order):
            raise ValueError("a column name has no back-quotes")
        if len(set(self.key)) != len(self.key):
            raise ValueError("its key names a column twice")
        named = set(_PLACEHOLDER.findall(self.text))
        if "reach" in named and self.reach is None:
            raise ValueError("it says {reach}, so it needs a reach")
        if named and self.cursor is None:
            raise ValueError(f"it says {{{min(named)}}}, so it needs a cursor")

    @property
    def stream(self) -> str:
        """The name of its stream."""
        return PREFIX + self.name

    @property
    def order(self) -> tuple[str, ...]:
        """The columns by which it is ordered; together they name a row."""
        return self.key if self.cursor is None else (self.cursor, *self.key)

    @property
    def fingerprint(self) -> str:
        """What changes when another query stands under the same name."""
        said = "\0".join([self.text, *self.order])
        return blake2b(said.encode(), digest_size=8).hexdigest()


class QueryPlace(Place, frozen=True, kw_only=True):
    """How far a query is read.

    since, until: the stretch of the cursor that is read; None for a query without one, whose
    reading has no stretch. part: where the part in hand ends. reach: how old rows may be by the
    query's other time, in seconds; None: any age.
    after: the order columns of the last row; None before the first. types: their ClickHouse types.
    rows: how many the next page asks for. begun: whether a page was read. calm: how many parts were
    read since a query was last stopped, or a part last grew.
    """

    since: Instant | None = None
    until: Instant | None = None
    part: Instant | None = None
    reach: float | None = None
    after: Sequence[Any] | None = None
    types: Mapping[str, str] = {}
    rows: int = FIRST_ROWS
    begun: bool = False
    calm: int = 0

    def position(self) -> Mapping[str, Any]:
        """Return the place as JSON. A key that Postgres cannot hold is escaped in it."""
        found = dict(msgspec.to_builtins(self))
        if self.after is not None:
            # All others stay as they are, so that `forget` finds them.
            found["after"] = [
                {_ESCAPED: json.dumps(value)}
                if isinstance(value, str) and _UNSTORABLE.search(value)
                else value
                for value in self.after
            ]
        return found

    @classmethod
    def resume(cls, position: Mapping[str, Any] | None, fingerprint: str) -> Self | None:
        """See `Place.resume`."""
        after = (position or {}).get("after")
        if isinstance(after, list):
            plain = [
                json.loads(each[_ESCAPED]) if isinstance(each, dict) and _ESCAPED in each else each
                for each in after
            ]
            position = {**(position or {}), "after": plain}
        return super().resume(position, fingerprint)

    @property
    def shortens(self) -> bool:
        """Whether less can be asked for than at this place."""
        return self.rows > FEWEST_ROWS or self._middle() is not None

    def shortened(self) -> QueryPlace:
        """Return the place that asks for half as much: fewer rows, of a shorter stretch."""
        return replace(
            self, rows=max(FEWEST_ROWS, self.rows // 2), part=self._middle() or self.part, calm=0
        )

    def _middle(self) -> datetime | None:
        if self.since is None or self.part is None:
            return None
        low = self.since if self.after is None else instant_of(self.after[0]) or self.since
        middle = low + (self.part - low) / 2
        return middle if middle - low >= SHORTEST_STRETCH else None

    def past(
        self, last: Sequence[Any], types: Mapping[str, str], rows: int, size: int
    ) -> QueryPlace:
        """Return the place after a page whose last row has `last` in its order columns.

        rows: how many rows it had; size: what it weighed, in bytes.
        """
        fit = int(0.8 * ANSWER_BYTES * rows / max(1, size))
        most = min(MOST_ROWS, 4 * self.rows, max(FEWEST_ROWS, fit))
        return replace(self, after=list(last), types=dict(types), rows=most, begun=True)

    def past_part(self) -> QueryPlace | None:
        """Return the beginning of what follows the part in hand; None if nothing does."""
        if self.part is None or self.until is None or self.part >= self.until:
            return None
        # Longer again after a while: what stopped the query may have been a moment's trouble.
        longest, calm = self.part - (self.since or self.part), self.calm + 1
        if calm >= _CALM_PARTS:
            longest, calm = 2 * longest, 0
        following = min(self.until, self.part + max(longest, SHORTEST_STRETCH))
        return replace(self, since=self.part, part=following, after=None, begun=True, calm=calm)


def is_due(spec: QuerySpec, traits: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether a query is to be read again. traits: what its last reading left."""
    at = traits.get("queried_at")
    if at is None or not spec.every:
        return True
    passed = now - datetime.fromisoformat(at)
    # A time in the future came from a wrong clock.
    return passed >= spec.every or passed < timedelta(0)


def increment(
    spec: QuerySpec,
    known: datetime | None,
    swept: Mapping[str, datetime],
    start: datetime,
    now: datetime,
) -> tuple[datetime, datetime, timedelta | None]:
    """Return from when to when a query is read by its cursor, and which age is due by its reach.

    known: up to when its rows are known; None: all are read, from `start`. swept: see `Lookback`.
    """
    until = now - spec.settle
    if known is None:
        return start, until, None
    since, age = known, None
    if spec.reach is not None:
        age = spec.reach.due(swept, now)
        since = swept.get(str(int(age.total_seconds())), start)
    return max(start, since - spec.lookback), max(until, known), age


def page_query(spec: QuerySpec, place: QueryPlace) -> tuple[str, dict[str, Any]]:
    """Return text and values of the query for the page at a place."""
    values: dict[str, Any] = {}
    conditions = []
    if spec.cursor is not None and place.since is not None and place.part is not None:
        cursor = quoted(spec.cursor)
        low = place.since if place.after is None else place.after[0]
        # Beside the comparison of tuples, which uses no index of the server.
        conditions.append(f"{cursor} >= {instant('page_since', place.types.get(spec.cursor, ''))}")
        conditions.append(f"{cursor} < {instant('page_until')}")
        values |= {"page_since": in_utc(low), "page_until": in_utc(place.part)}
    if place.after is not None:
        names = [f"after_{number}" for number in range(len(spec.order))]
        columns = ", ".join(quoted(column) for column in spec.order)
        constants = [
            _constant(name, place.types.get(column, "String"))
            for name, column in zip(names, spec.order, strict=True)
        ]
        for name, column, value in zip(names, spec.order, place.after, strict=True):
            is_time = _bare(place.types.get(column, "")).startswith(_TIMES)
            values[name] = in_utc(value) if is_time else value
        if len(constants) == 1:
            conditions.append(f"{columns} > {constants[0]}")
        else:
            conditions.append(f"({columns}) > ({', '.join(constants)})")
    return _wrapped(spec, place, conditions, values, f"LIMIT {place.rows}")


def keys_query(
    spec: QuerySpec, place: QueryPlace, keys: Sequence[Sequence[Any]]
) -> tuple[str, dict[str, Any]]:
    """Return text and values of the query for the rows with these keys."""
    values: dict[str, Any] = {}
    tuples = []
    for number, key in enumerate(keys):
        parts: list[str] = []
        for column, value in zip(spec.key, key, strict=True):
            name = f"key_{number}_{len(parts)}"
            kind = place.types.get(column, "String")
            values[name] = _from_text(value, _bare(kind)) if isinstance(value, str) else value
            parts.append(_constant(name, kind))
        tuples.append(parts[0] if len(parts) == 1 else f"({', '.join(parts)})")
    columns = ", ".join(quoted(column) for column in spec.key)
    if len(spec.key) > 1:
        columns = f"({columns})"
    # A row may have changed since, and so have left the stretch that was read.
    anywhere = replace(place, since=None, part=None, reach=None)
    condition = f"{columns} IN ({', '.join(tuples)})"
    return _wrapped(spec, anywhere, [condition], values, f"LIMIT {2 * len(keys)}")


def no_rows_query(spec: QuerySpec, now: datetime) -> tuple[str, dict[str, Any]]:
    """Return text and values of the query for none of its rows, to learn its columns."""
    first = QueryPlace(fingerprint="", began_at=now, since=now, until=now, part=now)
    return _wrapped(spec, first, [], {}, "LIMIT 0")


def _from_text(value: str, bare: str) -> Any:
    """Return the value of a ClickHouse type that is stored as this text in a key."""
    if bare.startswith(_TIMES):
        return in_utc(value)
    if bare.startswith("Bool"):
        return value == "True"
    if bare.startswith("Float"):
        return float(value)
    return int(value) if bare.startswith(("Int", "UInt")) else value


def _wrapped(
    spec: QuerySpec,
    place: QueryPlace,
    conditions: Sequence[str],
    values: dict[str, Any],
    limit: str,
) -> tuple[str, dict[str, Any]]:
    text = _LAST_MARKS.sub(r"\1", spec.text.strip())
    for name in set(_PLACEHOLDER.findall(text)):
        values[name] = in_utc(_bound(place, name))
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    order = ", ".join(quoted(column) for column in spec.order)
    # The text stands on lines of its own: it may end in a comment.
    return f"SELECT * FROM (\n{text}\n) AS q {where}ORDER BY {order} {limit}", values


def _bound(place: QueryPlace, name: str) -> datetime:
    far = {"since": _LONG_AGO, "until": _FAR_AHEAD, "reach": _LONG_AGO}[name]
    if name == "reach":
        if place.reach is None or place.since is None:
            return far
        return max(_LONG_AGO, place.since - timedelta(seconds=place.reach))
    found = place.since if name == "since" else place.part
    return found or far


_LONG_AGO = datetime(1970, 1, 2, tzinfo=UTC)
_FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)


def quoted(column: str) -> str:
    """Return a column's name as HogQL has it."""
    return f"`{column}`"


def in_utc(value: Any) -> str:
    """Return an instant as ClickHouse's plain form in UTC, with every digit it has."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    text = str(value).strip()
    plain = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d+)?)(?:Z|\+00:00)?", text)
    if plain is not None:
        return f"{plain[1]} {plain[2]}"
    found = instant_of(value)
    if found is None:
        return text
    # Digits after the microsecond are lost on the way through Python's own type.
    more = re.search(r"\.\d{6}(\d+)", text)
    return in_utc(found) + (more[1] if more else "")


def instant_of(value: Any) -> datetime | None:
    """Return the instant in a value as an answer has it; None if there is none."""
    if isinstance(value, datetime):
        return value
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        # More digits than a microsecond has.
        cut = re.sub(r"(\.\d{6})\d+", r"\1", str(value))
        try:
            at = datetime.fromisoformat(cut)
        except ValueError:
            return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def instant(name: str, kind: str = "") -> str:
    """Return the constant for a value that is an instant, as exact as the ClickHouse type."""
    found = _PRECISION.search(kind)
    digits = max(6, int(found[1])) if found else 6
    # A literal without a zone would be read in the project's.
    return f"toDateTime64({{{name}}}, {digits}, 'UTC')"


def digits_of(kind: str) -> int:
    """Return how many digits of a second the values of a ClickHouse type have."""
    found = _PRECISION.search(kind)
    return int(found[1]) if found else 0


def _constant(name: str, kind: str) -> str:
    bare = _bare(kind)
    if bare.startswith(_TIMES):
        return instant(name, bare)
    if bare == "UUID":
        return f"toUUID({{{name}}})"
    return f"toDate({{{name}}})" if bare.startswith("Date") else f"{{{name}}}"


def _bare(kind: str) -> str:
    while (found := _WRAPPED.fullmatch(kind.strip())) is not None:
        kind = found[1]
    return kind.strip()


def may_be_null(kind: str) -> bool:
    """Tell whether a column of this ClickHouse type may hold null."""
    bare = kind.strip()
    if bare.startswith("LowCardinality("):
        bare = bare.removeprefix("LowCardinality(")
    return bare.startswith("Nullable(")


def kind_of(kind: str, *, is_key: bool = False) -> Kind:
    """Return the type of the column that holds values of a ClickHouse type.

    is_key: it is a column of the key, which holds only few types and else text.
    """
    bare = _bare(kind)
    if is_key:
        found = kind_of(kind)
        # A hash may be larger than a bigint; in other columns such a number goes to `extra`.
        fits = found in _KEY_KINDS and bare != "UInt64"
        return found if fits else Kind.TEXT
    if bare.startswith("DateTime"):
        return Kind.INSTANT
    if _INTEGER.fullmatch(bare):
        return Kind.BIGINT
    if bare.startswith(("UInt", "Int", "Decimal")):
        return Kind.NUMERIC
    if bare.startswith(("FixedString", "Enum")):
        return Kind.TEXT
    return _BY_TYPE.get(bare, Kind.JSON)


def table_of(spec: QuerySpec, types: Mapping[str, str]) -> TableSpec:
    """Return the table of a result. types: the ClickHouse type of each column.

    Raises ValueError, which says what is wrong with the columns.
    """
    missing = [column for column in spec.order if column not in types]
    if missing:
        raise ValueError(f"its answer has no column {missing[0]!r}, which is its key or cursor")
    for column in spec.order:
        if may_be_null(types[column]):
            raise ValueError(
                f"its column {column!r} may be null ({types[column]}), and rows without it would "
                "be lost; write assumeNotNull(…) or ifNull(…, …) in the query"
            )
    if odd := [column for column in spec.documents if column not in types]:
        raise ValueError(f"its answer has no column {odd[0]!r}, which json names")
    for column in types:
        length = len(column.encode("utf-8", "surrogatepass"))
        if column in OURS | _TAKEN or not 0 < length <= _LONGEST_COLUMN:
            raise ValueError(f"a column cannot be named {column!r} here; write AS … in the query")
    fields = []
    for column, kind in types.items():
        is_key = column in spec.key
        found = Kind.JSON if column in spec.documents else kind_of(kind, is_key=is_key)
        fields.append(Field(column, found, f"{kind} in the answer.", lenient=not is_key))
    return query_table(spec.name, spec.about, spec.key, fields)


def query_table(name: str, about: str, key: Sequence[str], fields: Sequence[Field]) -> TableSpec:
    """Return the table of a query with these columns."""
    columns = {field.name: field.kind for field in fields}
    whose = {
        column: names for column, (names, kind) in _WHOSE.items() if columns.get(column) is kind
    }
    if set(whose.values()) != {Names.RECORDING}:
        # Several persons may share a session: it does not say that they are one.
        whose = {column: names for column, names in whose.items() if names is not Names.RECORDING}
    return TableSpec(
        name=name,
        about=about or f"Rows of the configured query {name}.",
        key=tuple(key),
        fields=tuple(fields),
        identities=tuple(Identity(column, names) for column, names in whose.items()),
        queried=True,
    )
