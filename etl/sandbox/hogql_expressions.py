"""Expressions of HogQL as SQL for SQLite."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from etl.sandbox.hogql_code import Code, literal_code, quoted
from etl.sandbox.hogql_compare import among, arithmetic, comparison, row_comparison, union_of
from etl.sandbox.hogql_functions import find_function, tuple_code
from etl.sandbox.hogql_tokens import refused
from etl.sandbox.hogql_tree import (
    Call,
    Constant,
    Expr,
    Field,
    Many,
    Operation,
    Placeholder,
    Query,
    Star,
    Subquery,
)
from etl.sandbox.hogql_types import signed


@dataclass(slots=True)
class Scope:
    """What names mean inside of one SELECT: aliases first, then columns."""

    columns: dict[str, Code] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    aliases: dict[str, Code] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    place: str = ""


class Expressions(ABC):
    """Writes expressions, and collects the values that SQLite binds.

    values: what the placeholders stand for. zone: in which instants without a zone are read.
    """

    def __init__(self, values: Mapping[str, Any], zone: str) -> None:
        """Nothing is bound yet."""
        self._values, self._zone = values, zone
        self._bound: dict[str, Any] = {}
        self._in_aggregate = False

    @abstractmethod
    def _query(self, query: Query) -> tuple[str, list[tuple[str, Code]]]:
        """A query inside of another one, and its columns."""

    def _aggregates(self, expr: Expr, scope: Scope) -> bool:
        if isinstance(expr, Call):
            if find_function(expr.name)[0].aggregate:
                return True
            return any(self._aggregates(each, scope) for each in expr.args)
        if isinstance(expr, Operation):
            return any(self._aggregates(each, scope) for each in expr.args)
        return isinstance(expr, Many) and any(self._aggregates(each, scope) for each in expr.items)

    def _expr(self, expr: Expr, scope: Scope) -> Code:
        return self._grouped(self._made(expr, scope), scope)

    def _grouped(self, code: Code, scope: Scope) -> Code:
        if code.loose and code.sql in scope.groups:
            return Code(code.sql, code.type)
        return code

    def _made(self, expr: Expr, scope: Scope) -> Code:
        match expr:
            case Constant(value):
                return self._bind(value)
            case Placeholder(name):
                value = self._value(name)
                if isinstance(value, list):
                    return self._tuple([self._bind(each) for each in value])
                return self._bind(value)
            case Field(chain):
                return self._field(chain, scope)
            case Call():
                return self._call(expr, scope)
            case Many(items):
                return self._tuple([self._expr(each, scope) for each in items])
            case Operation(name, args):
                return self._operation(name, args, scope)
            case Subquery(query):
                sql, columns = self._query(query)
                return Code(f"({sql})", columns[0][1].type)
            case _:
                raise refused("Unable to resolve field: *")

    def _tuple(self, items: list[Code]) -> Code:
        made = tuple_code(items)
        return Code(made.sql, made.type, union_of(*items))

    def _bind(self, value: Any) -> Code:
        name = f"p{len(self._bound)}"
        code = literal_code(value, name)
        number = isinstance(value, int) and not isinstance(value, bool)
        self._bound[name] = signed(value) if number else value
        return code

    def _value(self, name: str) -> Any:
        if name not in self._values:
            known = ", ".join(self._values)
            if not known:
                raise refused(f"Unresolved placeholder: {{{name}}}")
            raise refused(
                f"Placeholder {{{name}}} is not available in this context. "
                f"You can use the following: {known}"
            )
        value = self._values[name]
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, (dict, list)):
                raise refused(f"The value of the placeholder {{{name}}} can't be used.")
        return value

    def _field(self, chain: tuple[str, ...], scope: Scope) -> Code:
        shown = ".".join(chain)
        if len(chain) > 1 and chain[0] in scope.names:
            chain = chain[1:]
        elif chain[0] in scope.aliases and len(chain) == 1:
            return scope.aliases[chain[0]]
        code = scope.columns.get(chain[0])
        if code is None or (len(chain) > 1 and not chain[0].endswith("properties")):
            raise refused(f"Unable to resolve field: {shown}")
        for name in chain[1:]:
            sql = f"ch_property({code.sql}, {quoted(name)})"
            code = Code(sql, "Nullable(String)", code.loose)
        return code

    def _call(self, call: Call, scope: Scope) -> Code:
        function, conditional = find_function(call.name)
        given = [each for each in call.args if not isinstance(each, Star)]
        if function.aggregate and self._in_aggregate:
            raise refused(f"Aggregation '{call.name}' cannot be nested inside another aggregation")
        self._in_aggregate = self._in_aggregate or function.aggregate
        try:
            args = [self._made(each, scope) if function.aggregate else self._expr(each, scope)
                    for each in given]  # fmt: skip
        finally:
            self._in_aggregate = self._in_aggregate and not function.aggregate
        condition = args.pop() if conditional and args else None
        if len(args) < function.least or (function.most is not None and len(args) > function.most):
            most = function.most
            wanted = (
                f"{function.least}" if most == function.least else f"{function.least} to {most}"
            )
            raise refused(f"Function '{call.name}' expects {wanted} arguments, found {len(args)}")
        sql, kind = function.make(args, self._zone)
        if call.distinct:
            sql = sql.replace("count(", "count(DISTINCT ", 1)
        if not function.aggregate:
            return Code(sql, kind, union_of(*args))
        where = "" if condition is None else f" FILTER (WHERE {condition.sql})"
        return Code(sql.replace("{where}", where), kind)

    def _operation(self, name: str, args: tuple[Expr, ...], scope: Scope) -> Code:
        if name == "in":
            return self._in(args[0], args[1], scope)
        if name in ("=", "!=", "<", "<=", ">", ">="):
            left, right = self._items(args[0], scope), self._items(args[1], scope)
            if left is not None and right is not None:
                return row_comparison(name, left, right, self._zone)
            codes = [self._expr(each, scope) for each in args]
            return comparison(name, codes[0], codes[1], self._zone)
        codes = [self._expr(each, scope) for each in args]
        loose = union_of(*codes)
        if name in ("and", "or"):
            joined = f" {name.upper()} ".join(each.sql for each in codes)
            return Code(f"({joined})", "UInt8", loose)
        if name == "not":
            return Code(f"(NOT {codes[0].sql})", "UInt8", loose)
        if name in ("is null", "is not null"):
            return Code(f"({codes[0].sql} {name.upper()})", "UInt8", loose)
        if name in ("like", "ilike"):
            sql = f"coalesce(ch_like({codes[0].sql}, {codes[1].sql}, {int(name == 'ilike')}), 0)"
            return Code(sql, "UInt8", loose)
        return arithmetic(name, codes[0], codes[1], self._zone)

    def _items(self, expr: Expr, scope: Scope) -> list[Code] | None:
        """The items of a tuple; None if it is none."""
        if isinstance(expr, Many):
            return [self._expr(each, scope) for each in expr.items]
        if isinstance(expr, Call) and expr.name == "tuple":
            return [self._expr(each, scope) for each in expr.args]
        if isinstance(expr, Placeholder) and isinstance(values := self._value(expr.name), list):
            return [self._bind(each) for each in values]
        return None

    def _in(self, left: Expr, right: Expr, scope: Scope) -> Code:
        row = self._items(left, scope)
        one = None if row is not None else self._expr(left, scope)
        if isinstance(right, Subquery):
            sql, columns = self._query(right.query)
            mine = row if row is not None else [one] if one is not None else []
            if len(columns) != len(mine):
                raise refused("Number of columns in section IN doesn't match")
            place = "(" + ", ".join(each.sql for each in mine) + ")"
            return Code(f"coalesce({place} IN ({sql}), 0)", "UInt8", union_of(*mine))
        if one is not None:
            items = self._items(right, scope)
            listed = [self._expr(right, scope)] if items is None else items
            return among([one], [[each] for each in listed], self._zone)
        rows = []
        several = isinstance(right, Many) and all(
            isinstance(each, (Many, Placeholder)) or getattr(each, "name", "") == "tuple"
            for each in right.items
        )
        for each in right.items if several and isinstance(right, Many) else (right,):
            items = self._items(each, scope)
            if items is None:
                raise refused("Tuples can only be compared with tuples")
            rows.append(items)
        return among(row or [], rows, self._zone)
