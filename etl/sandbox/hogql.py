"""Turns a HogQL query into SQL for SQLite, with the types that ClickHouse would name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etl.sandbox.hogql_code import Code, ordered_sql
from etl.sandbox.hogql_expressions import Expressions, Scope
from etl.sandbox.hogql_parse import parse
from etl.sandbox.hogql_schema import TIME_KEYS, Schema
from etl.sandbox.hogql_tokens import refused, tokens
from etl.sandbox.hogql_tree import (
    Column,
    Expr,
    Operation,
    Query,
    Select,
    Star,
)
from etl.sandbox.hogql_types import bare, digits_of, instant_type, is_instant, nullable

DEFAULT_LIMIT = 100
NO_OFFSET = (
    "OFFSET is not supported on queries made with a personal API key. For pagination, use keyset "
    "pagination on the `timestamp` column, e.g. `WHERE timestamp > :last_seen_timestamp ORDER BY "
    "timestamp LIMIT N`. For bulk data extraction, use batch exports: "
    "https://posthog.com/docs/cdp/batch-exports"
)


@dataclass(slots=True)
class Compiled:
    """A query that SQLite can carry out.

    limited: whether the outer SELECT has a LIMIT of its own, or is a UNION.
    reads: each table that is read, with the condition on the time by which it is stored.
    """

    sql: str
    bound: dict[str, Any]
    columns: list[str]
    types: list[str]
    limited: bool
    reads: list[tuple[str, str]]


def compile_hogql(
    text: str, values: Mapping[str, Any], schema: Schema, zone: str, cap: int
) -> Compiled:
    """The query as SQL. Raises ApiError 400 with the reason for what can't be answered.

    values: what the placeholders stand for. zone: in which instants without a zone are read.
    cap: a greater LIMIT is lowered to it.
    """
    if any(each.kind == "name" and each.text.lower() == "offset" for each in tokens(text)):
        raise refused(NO_OFFSET)
    try:
        query = parse(text)
        return _Compiler(values, schema, zone, cap).whole(query)
    except RecursionError as exc:
        raise refused("The query is nested too deeply.") from exc


class _Compiler(Expressions):
    def __init__(self, values: Mapping[str, Any], schema: Schema, zone: str, cap: int) -> None:
        super().__init__(values, zone)
        self._schema, self._cap = schema, cap
        self._reads: list[tuple[str, str]] = []
        self._sources = 0

    def whole(self, query: Query) -> Compiled:
        several = len(query.selects) > 1
        parts, found = [], []
        for select in query.selects:
            sql, columns = self._select(select, default=DEFAULT_LIMIT + (not several), top=True)
            parts.append(f"SELECT * FROM ({sql})" if several else sql)
            found.append(columns)
        self._same_width(found)
        names = [name for name, _ in found[0]]
        return Compiled(
            sql=" UNION ALL ".join(parts),
            bound=self._bound,
            columns=names,
            types=[code.type for _, code in found[0]],
            limited=several or query.selects[0].limit is not None,
            reads=self._reads,
        )

    def _same_width(self, found: list[list[tuple[str, Code]]]) -> None:
        if len({len(columns) for columns in found}) > 1:
            raise refused("Different number of columns in UNION ALL elements")

    def _query(self, query: Query) -> tuple[str, list[tuple[str, Code]]]:
        """A query inside of another one: no LIMIT but its own."""
        parts, found = [], []
        for select in query.selects:
            sql, columns = self._select(select, default=None, top=False)
            parts.append(f"SELECT * FROM ({sql})")
            found.append(columns)
        self._same_width(found)
        return " UNION ALL ".join(parts), found[0]

    def _select(
        self, select: Select, *, default: int | None, top: bool
    ) -> tuple[str, list[tuple[str, Code]]]:
        scope, source = self._scope(select)
        columns = self._columns(select, scope)
        where = None if select.where is None else self._expr(select.where, scope)
        groups = [self._expr(each, scope) for each in select.group]
        scope.groups = frozenset(each.sql for each in groups)
        grouped = bool(groups) or any(self._aggregates(each.expr, scope) for each in select.columns)
        if grouped and groups:
            # Once more, now that it is known which columns may stand outside of an aggregate.
            columns = self._columns(select, scope)
        if grouped:
            for _, code in columns:
                self._not_loose(code)
        having = None if select.having is None else self._expr(select.having, scope)
        shown = ", ".join(f"{c.sql} AS {_name(f'c{n}')}" for n, (_, c) in enumerate(columns))
        sql = f"SELECT {'DISTINCT ' if select.distinct else ''}{shown}"
        if source is not None:
            sql += f" FROM {source}"
        self._note_reads(select, scope)
        if where is not None:
            sql += f" WHERE {where.sql}"
        if groups:
            sql += f" GROUP BY {', '.join(each.sql for each in groups)}"
        if having is not None:
            sql += f" HAVING {having.sql}"
        order = [self._order(expr, descends, scope, grouped) for expr, descends in select.order]
        if order:
            sql += f" ORDER BY {', '.join(order)}"
        return sql + self._limit(select.limit, scope, default, top), columns

    def _order(self, expr: Expr, descends: bool, scope: Scope, grouped: bool) -> str:
        code = self._expr(expr, scope)
        if grouped:
            self._not_loose(code)
        return f"{ordered_sql(code)} {'DESC' if descends else 'ASC'} NULLS LAST"

    def _limit(self, limit: Expr | None, scope: Scope, default: int | None, top: bool) -> str:
        if limit is None:
            return "" if default is None else f" LIMIT {default}"
        code = self._expr(limit, Scope())
        if not bare(code.type).startswith(("UInt", "Int")) or code.type.startswith("Null"):
            raise refused("LIMIT must be a number of rows")
        if isinstance(code.literal, int) and code.literal < 0:
            raise refused("LIMIT must not be negative")
        return f" LIMIT min({code.sql}, {self._cap})" if top else f" LIMIT {code.sql}"

    def _not_loose(self, code: Code) -> None:
        if code.loose:
            name = min(code.loose)
            detail = f"Column `{name}` is not under aggregate function and not in GROUP BY"
            raise refused(detail, "not_an_aggregate")

    # Sources

    def _scope(self, select: Select) -> tuple[Scope, str | None]:
        source = select.source
        if source is None:
            return Scope(), None
        self._sources += 1
        place = f"s{self._sources}"
        if source.query is not None:
            sql, found = self._query(source.query)
            columns = {
                name: Code(f"{place}.c{n}", code.type, frozenset({name}))
                for n, (name, code) in enumerate(found)
            }
            return Scope(columns, _names(source.alias), place=place), f"({sql}) AS {place}"
        table = source.table or ""
        if table not in self._schema:
            raise refused(f"Unknown table `{table}`.")
        columns = {
            name: Code(f"{place}.{_name(name)}", self._zoned(kind), frozenset({name}))
            for name, kind in self._schema[table].items()
        }
        names = _names(source.alias, table)
        return Scope(columns, names, place=place), f"{_name(table)} AS {place}"

    def _zoned(self, kind: str) -> str:
        """The type of a column, with the zone in which it is shown."""
        if not is_instant(kind):
            return kind
        return nullable(instant_type(digits_of(kind), self._zone), kind.startswith("Nullable"))

    def _note_reads(self, select: Select, scope: Scope) -> None:
        """Notes how much of the table a server would read: it skips by the time key alone."""
        if select.source is None or select.source.table is None:
            return
        table = select.source.table
        conditions, pending = [], [select.where] if select.where is not None else []
        while pending:
            each = pending.pop()
            if isinstance(each, Operation) and each.name == "and":
                pending += each.args
            elif isinstance(each, Operation) and each.name in ("=", "<", "<=", ">", ">="):
                code = self._expr(each, scope)
                if code.loose == {TIME_KEYS.get(table)}:
                    conditions.append(code.sql)
        sql = f"SELECT count(*) FROM {_name(table)} AS {scope.place}"
        self._reads.append((table, f"{sql} WHERE {' AND '.join(conditions) or '1'}"))

    def _columns(self, select: Select, scope: Scope) -> list[tuple[str, Code]]:
        scope.aliases = {}
        found: list[tuple[str, Code]] = []
        for column in select.columns:
            if isinstance(column.expr, Star):
                found += self._all(column.expr, scope)
            else:
                found.append((column.name, self._aliased(column, scope)))
        return found

    def _aliased(self, column: Column, scope: Scope) -> Code:
        code = self._expr(column.expr, scope)
        if column.aliased:
            scope.aliases[column.name] = code
        return code

    def _all(self, star: Star, scope: Scope) -> list[tuple[str, Code]]:
        if not scope.columns or (star.table is not None and star.table not in scope.names):
            raise refused("Unable to resolve field: *")
        if any(name.endswith("session_replay_events") for name in scope.names):
            # PostHog source, schema/session_replay_events.py: its columns are aggregates.
            raise refused("Can't select * from a table of replays")
        return [(name, self._grouped(code, scope)) for name, code in scope.columns.items()]


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _names(*names: str | None) -> tuple[str, ...]:
    return tuple(each for each in names if each)
