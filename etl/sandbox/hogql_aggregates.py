"""The aggregates that HogQL knows, each as SQL for SQLite with its type in ClickHouse.

Without rows they have the default of their type, not null (ClickHouse docs, aggregate functions).
`{where}` is where the condition of an aggregate goes whose name ends in If.
"""

from collections.abc import Mapping

from etl.sandbox.hogql_code import Code, Function, Made, joined, ordered_sql, quoted
from etl.sandbox.hogql_tokens import refused
from etl.sandbox.hogql_types import bare, default_of, is_nullable, is_number, nullable


def _count(args: list[Code], zone: str) -> Made:
    return Made(f"count({joined(args) or '*'}){{where}}", "UInt64")


def _uniq(args: list[Code], zone: str) -> Made:
    return Made(f"count(DISTINCT {args[0].sql}){{where}}", "UInt64")


def _extreme(name: str) -> Function:
    def make(args: list[Code], zone: str) -> Made:
        found, kind = f"{name}({ordered_sql(args[0])}){{where}}", args[0].type
        if bare(kind) == "UUID":
            found = f"(substr({found}, 18) || substr({found}, 1, 17))"
        elif bare(kind) == "UInt64":
            found = f"ch_ordered({found})"
        return Made(_or_default(found, kind), kind)

    return Function(1, 1, make, aggregate=True)


def _or_default(sql: str, kind: str) -> str:
    """With the default of the type where there are no rows: ClickHouse has no null there."""
    default = default_of(kind)
    if default is None:
        return sql
    return f"coalesce({sql}, {quoted(default) if isinstance(default, str) else default})"


def _any(args: list[Code], zone: str) -> Made:
    return Made(_or_default(f"min({args[0].sql}){{where}}", args[0].type), args[0].type)


def _sum(args: list[Code], zone: str) -> Made:
    kind = bare(args[0].type)
    if not is_number(kind):
        raise refused(f"Illegal type {kind} of argument for aggregate function sum")
    if kind.startswith("Float"):
        return Made(f"total({args[0].sql}){{where}}", args[0].type)
    wide = "UInt64" if kind.startswith(("UInt", "Bool")) else "Int64"
    wide = nullable(wide, is_nullable(args[0].type))
    return Made(_or_default(f"ch_sum({args[0].sql}){{where}}", wide), wide)


def _average(args: list[Code], zone: str) -> Made:
    return Made(f"avg({args[0].sql}){{where}}", nullable("Float64", is_nullable(args[0].type)))


def _bit_xor(args: list[Code], zone: str) -> Made:
    kind = bare(args[0].type)
    return Made(_or_default(f"ch_xor({args[0].sql}){{where}}", kind), kind)


def _array(args: list[Code], zone: str) -> Made:
    kind = f"Array({bare(args[0].type)})"
    return Made(_or_default(f"ch_array({args[0].sql}){{where}}", kind), kind)


AGGREGATES: Mapping[str, Function] = {
    "count": Function(0, 1, _count, aggregate=True),
    "uniq": Function(1, 1, _uniq, aggregate=True),
    "uniqExact": Function(1, 1, _uniq, aggregate=True),
    "min": _extreme("min"),
    "max": _extreme("max"),
    "sum": Function(1, 1, _sum, aggregate=True),
    "avg": Function(1, 1, _average, aggregate=True),
    "any": Function(1, 1, _any, aggregate=True),
    "groupBitXor": Function(1, 1, _bit_xor, aggregate=True),
    "groupArray": Function(1, 1, _array, aggregate=True),
}
