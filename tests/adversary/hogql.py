"""The query endpoint of the adversary: rows as Python objects, and its own reading of a query.

It understands only `SELECT columns FROM table`, and around it what reads it page by page. All else
is a 400, as is what ClickHouse would refuse. It shares no code with the pipeline or the sandbox.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.adversary.foreign import error

if TYPE_CHECKING:
    from tests.adversary.server import Asked

Row = dict[str, Any]
Status = dict[str, Any]

_OUTER = re.compile(
    r"SELECT \* FROM \(\n(?P<inner>.*)\n\) AS q "
    r"(?:WHERE (?P<where>.*) )?ORDER BY (?P<order>.*) LIMIT (?P<limit>\d+)",
    re.DOTALL,
)
_INNER = re.compile(
    r"\s*SELECT\s+(?P<columns>.+?)\s+FROM\s+(?P<table>\w+)(?:\s+WHERE\s+(?P<where>.+?))?\s*",
    re.DOTALL,
)
_NAME = r"`(?:[^`])+`|[\w$]+"
_CONSTANT = r"(?:\w+\()?\{\w+\}(?:, \d, 'UTC')?\)?"
_CONSTANTS = rf"{_CONSTANT}(?:, {_CONSTANT})*"
_COMPARED = re.compile(rf"(?P<name>{_NAME}) (?P<sign>>=|<|>) (?P<constant>{_CONSTANT})")
_TUPLES = re.compile(rf"\((?P<names>(?:{_NAME})(?:, (?:{_NAME}))*)\) > \((?P<all>{_CONSTANTS})\)")
_AMONG = re.compile(rf"(?P<names>{_NAME}|\((?:{_NAME})(?:, (?:{_NAME}))*\)) IN \((?P<all>.*)\)")
_TIME = re.compile(r"toDateTime64\(\{(\w+)\}, (\d), 'UTC'\)")
_CAST = re.compile(r"(toUUID|toDate)?\(?\{(\w+)\}\)?")
_LINE_COMMENT = re.compile(r"--[^\n]*")
_PLAIN = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))?")
_SECOND = 10**9


class Refused(Exception):
    """The query is refused with these words."""


@dataclass
class Table:
    """Rows that can be queried. columns: their ClickHouse types.

    A row may hold `visible_at`, the instant from which queries see it. Instants are whole
    nanoseconds (`nanos`), UUIDs are `uuid.UUID`.
    """

    columns: dict[str, str]
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Query:
    """A query as it was sent."""

    text: str
    values: Mapping[str, Any]
    refresh: str
    id: str
    limit: int | None = None

    @property
    def content(self) -> str:
        """What makes two queries equal."""
        return json.dumps([self.text, self.values], sort_keys=True)


@dataclass
class HogQL:
    """The endpoint. Every attribute may be changed at any time.

    cap: the most rows of an answer; LIMIT is lowered to it without a word.
    zone: how far the project's zone is ahead of UTC.
    own_zone: the zone of columns whose type names one other than UTC.
    every_column: `SELECT all` has every column, for names that this cannot read.
    digits: how many digits of a second are shown at most.
    polls: how often a query must be asked after; 0: it is answered at once.
    status_of: changes each status before it is sent. losing: how many statuses are lost.
    rename: what a POST names its query.
    stops: tells whether a query is stopped for what it reads; it then fails for ever.
    before: called before each query is answered.
    bytes_left: what the header says.
    """

    tables: dict[str, Table] = field(default_factory=dict)
    cap: int = 50_000
    zone: timedelta = timedelta(0)
    own_zone: timedelta = timedelta(0)
    every_column: bool = False
    digits: int = 9
    polls: int = 0
    status_of: Callable[[Status], Status] = lambda status: status
    losing: int = 0
    rename: Callable[[str], str] = lambda id: id
    stops: Callable[[Query], bool] = lambda _query: False
    before: list[Callable[[Query], Any]] = field(default_factory=list)
    bytes_left: int = 10**9
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    asked: list[Query] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    _cache: dict[str, Any] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _running: dict[str, list[Any]] = field(default_factory=dict)

    def answer(self, asked: Asked, rest: Sequence[str]) -> Any:
        """Answer POST, GET and DELETE."""
        method = asked.http.method
        if method == "POST" and not rest:
            return self._begin(json.loads(asked.body))
        if method == "GET" and len(rest) == 1:
            return self._after(rest[0])
        if method == "DELETE" and len(rest) == 1:
            self.cancelled.append(rest[0])
            self._running.pop(rest[0], None)
            return {"message": "Query task revoked"}
        return error(405, "method_not_allowed", f'Method "{method}" not allowed.')

    def _begin(self, body: dict[str, Any]) -> Any:
        sent = body["query"]
        if sent.get("kind") != "HogQLQuery":
            return error(400, "parse_error", "Unknown kind")
        query = Query(
            sent["query"],
            sent.get("values") or {},
            body.get("refresh", "blocking"),
            body.get("client_query_id") or uuid.uuid4().hex,
        )
        self.asked.append(query)
        for hook in self.before:
            hook(query)
        if not query.refresh.startswith("force") and query.content in self._cache:
            return {**self._cache[query.content], "is_cached": True}
        if query.content in self._failed or self.stops(query):
            self._failed.add(query.content)
            scan = {"rows_read": 10**9, "duration_ms": 10_000, "killed": True}
            body = {"type": "validation_error", "code": "killed", "detail": "Query was killed"}
            extra = {"cache_key": "c", "query_scan": scan}
            return web.json_response({**body, "attr": None, "extra": extra}, status=400)
        try:
            local = not (sent.get("modifiers") or {}).get("convertToProjectTimezone", True)
            found = self._run(query, timedelta(0) if local else self.zone)
        except Refused as exc:
            return error(400, "invalid_input", str(exc), kind="validation_error")
        self._cache[query.content] = found
        if not self.polls and query.refresh.endswith("blocking"):
            return _with_bytes(web.json_response(found), self.bytes_left)
        name = self.rename(query.id)
        self._running[name] = [max(1, self.polls), found]
        return web.json_response({"query_status": self._status(name, None)}, status=202)

    def _after(self, name: str) -> Any:
        if self.losing and name in self._running:
            self.losing -= 1
            del self._running[name]
        if name not in self._running:
            return error(404, "not_found", f"Query {name} not found for team 1")
        job = self._running[name]
        job[0] -= 1
        status = self._status(name, job[1] if job[0] <= 0 else None)
        code = 202 if not status["complete"] and not status["error"] else 200
        if status["error"]:
            code = 400 if status.get("error_message") else 500
        if status["complete"]:
            del self._running[name]
        return _with_bytes(
            web.json_response({"query_status": status}, status=code), self.bytes_left
        )

    def _status(self, name: str, found: Any) -> Status:
        return self.status_of(
            {
                **{"id": name, "team_id": 1, "complete": found is not None, "error": False},
                **{"error_message": None, "results": found, "query_async": True},
            }
        )

    def _run(self, query: Query, zone: timedelta) -> dict[str, Any]:
        if query.text == "SELECT 1":
            return {"results": [[1]], "columns": ["1"], "types": [["1", "UInt8"]], "error": None}
        outer = _OUTER.fullmatch(query.text)
        if outer is None:
            raise Refused("mismatched input")
        if re.search(r"\bOFFSET\b", query.text, re.IGNORECASE):
            raise Refused("OFFSET is not supported on queries made with a personal API key")
        inner = _INNER.fullmatch(_LINE_COMMENT.sub("", outer["inner"]))
        if inner is None:
            raise Refused("no viable alternative at input")
        table = self.tables.get(inner["table"])
        if table is None:
            raise Refused(f'Unknown table "{inner["table"]}".')
        is_all = self.every_column and inner["columns"] == "all"
        types = table.columns if is_all else _selected(inner["columns"], table)
        now = nanos(self.clock())
        rows = [row for row in table.rows if row.get("visible_at", 0) <= now]
        rows = _where(rows, inner["where"], table.columns, query.values)
        rows = _where(rows, outer["where"], types, query.values)
        names = [_bare(name) for name in re.findall(_NAME, outer["order"])]
        for name in names:
            if name not in types:
                raise Refused(f"Unable to resolve field: {name}")
        rows = sorted(rows, key=lambda row: tuple(_rank(row[name]) for name in names))
        rows = rows[: min(self.cap, int(outer["limit"]))]
        return {
            "results": [
                [self._shown(row.get(n), k, zone) for n, k in types.items()] for row in rows
            ],
            "columns": list(types),
            "types": [[name, kind] for name, kind in types.items()],
            "error": "",
            "is_cached": False,
            "query_status": None,
        }

    def _shown(self, value: Any, kind: str, zone: timedelta) -> Any:
        found = re.search(r"DateTime64\((\d)", kind)
        if "DateTime" in kind and isinstance(value, int):
            zone = self.own_zone if "/" in kind else zone
            digits = min(self.digits, int(found[1])) if found else 0
            return _instant(value, digits, zone)
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return str(value) if isinstance(value, uuid.UUID | date) else value


def nanos(at: datetime, more: int = 0) -> int:
    """Return an instant in nanoseconds since 1970."""
    passed = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed // timedelta(microseconds=1)) * 1000 + more


def _instant(value: int, digits: int, zone: timedelta) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value // _SECOND) + zone
    part = f".{value % _SECOND:09d}"[: digits + 1] if digits else ""
    minutes = int(zone.total_seconds() // 60)
    offset = f"+{minutes // 60:02d}:{minutes % 60:02d}" if minutes else "Z"
    return f"{at:%Y-%m-%dT%H:%M:%S}{part}{offset}"


def _selected(columns: str, table: Table) -> dict[str, str]:
    types = {}
    for each in columns.split(","):
        found = re.fullmatch(rf"\s*({_NAME})(?:\s+AS\s+({_NAME}))?\s*", each)
        if found is None:
            raise Refused(f"mismatched input {each.strip()}")
        name = _bare(found[1])
        if name not in table.columns:
            raise Refused(f"Unable to resolve field: {name}")
        types[_bare(found[2] or found[1])] = table.columns[name]
    return types


def _bare(name: str) -> str:
    return name.strip("`")


def _rank(value: Any) -> Any:
    """UUIDs are ordered by their second half first, as ClickHouse does."""
    if isinstance(value, uuid.UUID):
        return (value.int & (2**64 - 1), value.int >> 64)
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _where(
    rows: list[Row], where: str | None, types: Mapping[str, str], values: Mapping[str, Any]
) -> list[Row]:
    for condition in (where or "").split(" AND ") if where else []:
        rows = _filtered(rows, condition, types, values)
    return rows


def _filtered(
    rows: list[Row], condition: str, types: Mapping[str, str], values: Mapping[str, Any]
) -> list[Row]:
    if found := _COMPARED.fullmatch(condition):
        name = _bare(found["name"])
        limit = _value(found["constant"], types, name, values)
        sign = found["sign"]
        if sign == "<":
            return [row for row in rows if _rank(row[name]) < _rank(limit)]
        if sign == ">":
            return [row for row in rows if _rank(row[name]) > _rank(limit)]
        return [row for row in rows if _rank(row[name]) >= _rank(limit)]
    if found := _TUPLES.fullmatch(condition):
        names = [_bare(name) for name in re.findall(_NAME, found["names"])]
        least = _values(found["all"], types, names, values)
        return [row for row in rows if tuple(_rank(row[name]) for name in names) > least]
    if found := _AMONG.fullmatch(condition):
        names = [_bare(name) for name in re.findall(_NAME, found["names"])]
        whole = found["all"]
        single = len(names) == 1
        pattern = _CONSTANT if single else rf"\({_CONSTANTS}\)"
        parts = re.findall(pattern, whole)
        wanted = {_values(part if single else part[1:-1], types, names, values) for part in parts}
        return [row for row in rows if tuple(_rank(row[name]) for name in names) in wanted]
    raise Refused(f"no viable alternative at input {condition}")


def _values(
    text: str, types: Mapping[str, str], names: Sequence[str], values: Mapping[str, Any]
) -> tuple[Any, ...]:
    parts = re.findall(_CONSTANT, text)
    if len(parts) != len(names):
        raise Refused("the tuples differ in size")
    return tuple(
        _rank(_value(part, types, name, values)) for part, name in zip(parts, names, strict=True)
    )


def _value(constant: str, types: Mapping[str, str], name: str, values: Mapping[str, Any]) -> Any:
    """Return what a constant is. Refuses what cannot be compared with the column."""
    if name not in types:
        raise Refused(f"Unable to resolve field: {name}")
    kind = types[name]
    if found := _TIME.fullmatch(constant):
        text = str(values[found[1]])
        plain = _PLAIN.fullmatch(text)
        if plain is None:
            raise Refused(f"Cannot parse string '{text}' as DateTime64: syntax error")
        if not kind.startswith("Date"):
            raise Refused(f"There is no supertype for types {kind}, DateTime64")
        at = datetime.strptime(plain[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        if kind == "Date32":
            return at.date()
        part = (plain[2] or "").ljust(9, "0")[: int(found[2])].ljust(9, "0")
        return nanos(at, int(part))
    cast = _CAST.fullmatch(constant)
    if cast is None or cast[2] not in values:
        raise Refused(f"Unresolved placeholder: {constant}")
    value = values[cast[2]]
    if kind.startswith("DateTime"):
        raise Refused(f"There is no supertype for types {kind}, String")
    if kind == "UUID":
        try:
            return uuid.UUID(str(value))
        except ValueError:
            raise Refused(f"Cannot parse uuid {value}") from None
    if kind.startswith("Date"):
        return max(date(1970, 1, 1), date.fromisoformat(str(value)))
    if kind == "String" and not isinstance(value, str):
        raise Refused("There is no supertype for types String, UInt64")
    if "Int" in kind and isinstance(value, str):
        return int(value)
    return value


def _with_bytes(answer: web.Response, left: int) -> web.Response:
    answer.headers["X-PostHog-Query-Bytes-Read"] = "1000"
    answer.headers["X-PostHog-Query-Budget-Remaining-Bytes"] = str(left)
    return answer
