"""The parts of a HogQL query, as the parser leaves them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal: text, a number, true, false or null."""

    value: Any


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`{name}`, filled from `query.values`."""

    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """A column, perhaps behind the name of its table: `e.uuid`, `properties.$os`."""

    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Star:
    """`*`, or `e.*`."""

    table: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an aggregate."""

    name: str
    args: tuple["Expr", ...]
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator: and, or, not, + - * / %, ||, comparisons, like, in, is null."""

    name: str
    args: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Many:
    """`(a, b)`, or `[a, b]` if `array`."""

    items: tuple["Expr", ...]
    array: bool = False


@dataclass(frozen=True, slots=True)
class Subquery:
    """A query in parentheses among expressions."""

    query: "Query"


Expr = Constant | Placeholder | Field | Star | Call | Operation | Many | Subquery


@dataclass(frozen=True, slots=True)
class Column:
    """An expression of a SELECT, and the name of its column."""

    expr: Expr
    name: str
    aliased: bool


@dataclass(frozen=True, slots=True)
class Source:
    """What FROM names: a table or a query."""

    table: str | None
    query: "Query | None"
    alias: str | None


@dataclass(frozen=True, slots=True)
class Select:
    """One SELECT. `order`: expressions, each with whether it descends."""

    columns: tuple[Column, ...]
    distinct: bool
    source: Source | None
    where: Expr | None
    group: tuple[Expr, ...]
    having: Expr | None
    order: tuple[tuple[Expr, bool], ...]
    limit: Expr | None


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT, or several joined by UNION ALL."""

    selects: tuple[Select, ...]
