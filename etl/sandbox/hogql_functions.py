"""The functions that HogQL knows, each as SQL for SQLite with its type in ClickHouse.

The names are HogQL's own (PostHog source, hogql/functions): `toUInt64` is not among them.
"""

import difflib
from collections.abc import Mapping

from etl.sandbox.clock import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from etl.sandbox.errors import ApiError
from etl.sandbox.hogql_aggregates import AGGREGATES
from etl.sandbox.hogql_code import Code, Function, Made, any_null, joined, quoted, text_code
from etl.sandbox.hogql_tokens import refused
from etl.sandbox.hogql_types import (
    bare,
    instant_type,
    is_instant,
    is_nullable,
    nullable,
)


def _call(name: str, kind: str, *more: object) -> Function:
    """A function of one argument with a fixed type."""
    added = "".join(f", {each}" for each in more)

    def make(args: list[Code], zone: str) -> Made:
        return Made(f"ch_{name}({joined(args)}{added})", nullable(kind, any_null(args)))

    return Function(1, 1, make)


def _substring(args: list[Code], zone: str) -> Made:
    return Made(f"ch_substring({joined(args)})", nullable("String", any_null(args)))


def _to_string(args: list[Code], zone: str) -> Made:
    shown = zone
    if len(args) > 1 and isinstance(args[1].literal, str):
        shown = args[1].literal
    return Made(text_code(args[0], shown), nullable("String", is_nullable(args[0].type)))


def _zone_argument(args: list[Code], at: int, zone: str) -> str:
    given = args[at].literal if len(args) > at else zone
    if not isinstance(given, str):
        raise refused("The time zone must be a constant String", "illegal_type_of_argument")
    return given


def _to_datetime64(args: list[Code], zone: str) -> Made:
    """Text by the strict parser: a zone at its end, a final Z too, is an error."""
    digits = args[1].literal if len(args) > 1 else 3
    if not isinstance(digits, int) or not 0 <= digits <= 9:
        raise refused("The scale of toDateTime64 must be 0 to 9", "argument_out_of_bound")
    given = _zone_argument(args, 2, zone)
    kind = instant_type(digits, given).replace("DateTime(", "DateTime64(0, ")
    first = args[0]
    if is_instant(first.type):
        sql = f"ch_cut({first.sql}, {quoted(kind)})"
    elif bare(first.type) == "String":
        sql = f"ch_basic({first.sql}, {digits}, {quoted(given)})"
    elif bare(first.type) == "Date":
        sql = f"ch_midnight({first.sql}, {quoted(given)})"
    else:
        sql = f"CAST(({first.sql}) * {SECOND_US} AS INTEGER)"
    return Made(sql, nullable(kind, is_nullable(first.type)))


def _to_datetime(args: list[Code], zone: str) -> Made:
    """Text by the lenient parser, with three digits; null if it can't be read."""
    given, first = _zone_argument(args, 1, zone), args[0]
    if bare(first.type) == "String":
        sql = f"ch_best({first.sql}, {quoted(given)})"
        return Made(sql, nullable(instant_type(3, given)))
    kind = nullable(instant_type(0, given), is_nullable(first.type))
    if is_instant(first.type):
        return Made(f"ch_cut({first.sql}, {quoted(kind)})", kind)
    if bare(first.type) == "Date":
        return Made(f"ch_midnight({first.sql}, {quoted(given)})", kind)
    return Made(f"CAST({first.sql} AS INTEGER) * {SECOND_US}", kind)


def _to_date(args: list[Code], zone: str) -> Made:
    first = args[0]
    if is_instant(first.type):
        sql = f"ch_day({first.sql}, {quoted(zone)})"
        return Made(sql, nullable("Date", is_nullable(first.type)))
    return Made(f"date(substr({first.sql}, 1, 10))", "Nullable(Date)")


def _to_start(length_us: int) -> Function:
    def make(args: list[Code], zone: str) -> Made:
        sql = args[0].sql
        if length_us == DAY_US:
            sql = f"ch_midnight(ch_day({sql}, {quoted(zone)}), {quoted(zone)})"
        else:
            sql = f"({sql} - ({sql}) % {length_us})"
        return Made(sql, nullable(instant_type(0, zone), is_nullable(args[0].type)))

    return Function(1, 1, make)


def _interval(length_us: int, name: str) -> Function:
    return Function(1, 1, lambda args, zone: Made(f"({args[0].sql}) * {length_us}", name))


def _cast(bits: int, has_sign: bool) -> Function:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if has_sign else (0, 1 << bits)

    def make(args: list[Code], zone: str) -> Made:
        first = args[0]
        kind = f"{'' if has_sign else 'U'}Int{bits}"
        if is_instant(first.type):
            sql = f"({first.sql}) / {SECOND_US}"
        elif bare(first.type) == "UInt64":
            # Compared as text, because the kept number may be negative.
            sql = f"ch_number({text_code(first, zone)}, '{low}', '{high}')"
        else:
            sql = f"ch_number({first.sql}, '{low}', '{high}')"
        return Made(sql, nullable(kind) if has_sign else nullable(kind, is_nullable(first.type)))

    return Function(1, 1, make)


def _reinterpret(size: int, kind: str) -> Function:
    return _call("reinterpret", kind, size)


def _coalesce(args: list[Code], zone: str) -> Made:
    kinds = [each.type for each in args if bare(each.type) != "Nothing"]
    kind = bare(kinds[0]) if kinds else "Nothing"
    every = all(is_nullable(each.type) for each in args)
    return Made(f"coalesce({joined(args)}, NULL)", nullable(kind, every))


def _if(args: list[Code], zone: str) -> Made:
    test, yes, no = args
    kind = yes.type if bare(yes.type) != "Nothing" else no.type
    either = is_nullable(yes.type) or is_nullable(no.type)
    sql = f"(CASE WHEN {test.sql} THEN {yes.sql} ELSE {no.sql} END)"
    return Made(sql, nullable(bare(kind), either))


def _concat(args: list[Code], zone: str) -> Made:
    return Made(f"ch_concat({', '.join(text_code(each, zone) for each in args)})", "String")


def tuple_code(args: list[Code]) -> Made:
    """A tuple as JSON."""
    return Made(f"ch_tuple({joined(args)})", f"Tuple({', '.join(each.type for each in args)})")


def _is_null(args: list[Code], zone: str) -> Made:
    return Made(f"(({args[0].sql}) IS NULL)", "UInt8")


def _is_not_null(args: list[Code], zone: str) -> Made:
    return Made(f"(({args[0].sql}) IS NOT NULL)", "UInt8")


def _xor(args: list[Code], zone: str) -> Made:
    return Made(f"ch_bitxor({joined(args)})", args[0].type)


FUNCTIONS: Mapping[str, Function] = {
    "toString": Function(1, 2, _to_string),
    "toDate": Function(1, 1, _to_date),
    "toDateTime": Function(1, 2, _to_datetime),
    "toDateTime64": Function(1, 3, _to_datetime64),
    "toStartOfHour": _to_start(HOUR_US),
    "toStartOfMinute": _to_start(MINUTE_US),
    "toStartOfDay": _to_start(DAY_US),
    "toIntervalSecond": _interval(SECOND_US, "IntervalSecond"),
    "toIntervalMinute": _interval(MINUTE_US, "IntervalMinute"),
    "toIntervalHour": _interval(HOUR_US, "IntervalHour"),
    "toIntervalDay": _interval(DAY_US, "IntervalDay"),
    "toInt": _cast(64, True),
    "toInt64": _cast(64, True),
    "_toUInt64": _cast(64, False),
    "toFloat": _call("floating", "Nullable(Float64)"),
    "toUUID": _call("uuid_or_null", "Nullable(UUID)"),
    "lower": _call("lower", "String"),
    "upper": _call("upper", "String"),
    "length": _call("length", "UInt64"),
    "hex": _call("hex", "String"),
    "unhex": _call("unhex", "String"),
    "MD5": _call("md5", "FixedString(16)"),
    "md5": _call("hex_md5", "String"),
    "reverse": _call("reverse", "String"),
    "substring": Function(2, 3, _substring),
    "reinterpretAsUInt64": _reinterpret(8, "UInt64"),
    "reinterpretAsUInt32": _reinterpret(4, "UInt32"),
    "reinterpretAsInt64": _reinterpret(8, "Int64"),
    "bitXor": Function(2, 2, _xor),
    "concat": Function(1, None, _concat),
    "coalesce": Function(1, None, _coalesce),
    "ifNull": Function(2, 2, _coalesce),
    "if": Function(3, 3, _if),
    "isNull": Function(1, 1, _is_null),
    "isNotNull": Function(1, 1, _is_not_null),
    "tuple": Function(1, None, lambda args, zone: tuple_code(args)),
    "now": Function(0, 0, lambda args, zone: Made(":now", instant_type(6, zone))),
    **AGGREGATES,
}
_ANY_CASE = {
    name.lower(): name
    for name in ("count", "min", "max", "sum", "avg", "lower", "upper", "concat", "coalesce", "if",
                 "ifNull", "now", "length", "substring")
}  # fmt: skip


def find_function(name: str) -> tuple[Function, bool]:
    """A function, and whether its last argument is a condition. Raises ApiError 400."""
    known = FUNCTIONS.get(name) or FUNCTIONS.get(_ANY_CASE.get(name.lower(), ""))
    if known is not None:
        return known, False
    base = FUNCTIONS.get(name.removesuffix("If"))
    if name.endswith("If") and base is not None and base.aggregate:
        return base, True
    raise _unsupported(name)


def _unsupported(name: str) -> ApiError:
    """PostHog source, hogql/printer.py."""
    close = difflib.get_close_matches(name, FUNCTIONS, 1)
    hint = f". Perhaps you meant '{close[0]}(...)'?" if close else ""
    return refused(f"Unsupported function call '{name}(...)'{hint}")
