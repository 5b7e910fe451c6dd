"""Comparisons and arithmetic of HogQL as SQL: what may be compared, and how null counts."""

from collections.abc import Sequence

from etl.sandbox.hogql_code import Code, ordered_sql, quoted, text_code
from etl.sandbox.hogql_tokens import refused
from etl.sandbox.hogql_types import bare, digits_of, is_instant, is_nullable, is_number, nullable

Pair = tuple[Code, Code]


def union_of(*codes: Code) -> frozenset[str]:
    """The loose columns of all of them."""
    return frozenset().union(*(each.loose for each in codes))


def matched(left: Code, right: Code, zone: str) -> Pair:
    """Both sides in a form in which they compare. Raises ApiError 400 if they can't be compared.

    Text beside an instant, a date or a UUID is read as one, strictly (ClickHouse, implicit
    conversion of a literal).
    """
    kinds = bare(left.type), bare(right.type)
    if "Nothing" in kinds:
        return left, right
    if kinds[1] == "String" and (read := _read_as(right, kinds[0], zone)):
        return left, read
    if kinds[0] == "String" and (read := _read_as(left, kinds[1], zone)):
        return read, right
    if is_instant(kinds[0]) and kinds[1] == "Date":
        return left, _changed(right, f"ch_midnight({right.sql}, {quoted(zone)})", left.type)
    if kinds[0] == "Date" and is_instant(kinds[1]):
        return _changed(left, f"ch_midnight({left.sql}, {quoted(zone)})", right.type), right
    alike = kinds[0] == kinds[1] or all(is_instant(k) for k in kinds)
    if not alike and not all(is_number(k) for k in kinds):
        raise refused(
            f"There is no supertype for types {kinds[0]}, {kinds[1]}", "no_common_type"
        )  # fmt: skip
    return left, right


def _read_as(code: Code, kind: str, zone: str) -> Code | None:
    """Text as a value of a type; None if there is no way to read it so."""
    if is_instant(kind):
        return _changed(code, f"ch_basic({code.sql}, {digits_of(kind)}, {quoted(zone)})", kind)
    if kind == "UUID":
        return _changed(code, f"ch_uuid({code.sql})", kind)
    if kind in ("Date", "String", "FixedString(16)"):
        return code
    return None


def _changed(code: Code, sql: str, kind: str) -> Code:
    return Code(sql, nullable(bare(kind), is_nullable(code.type)), code.loose)


def comparison(name: str, left: Code, right: Code, zone: str) -> Code:
    """`=` and `!=` take null as a value, the others are false for it (PostHog source, printer)."""
    a, b = matched(left, right, zone)
    loose = union_of(left, right)
    wide = [bare(each.type) == "UInt64" for each in (a, b)]
    if any(bare(each.type).startswith("Float") for each in (a, b)):
        wide = [False, False]
    if any(wide) and (name not in ("=", "!=") or not all(wide)):
        # What is kept does not tell the sign, so the values are compared by what they mean.
        left_sql, right_sql = (
            f"ch_wide({each.sql}, {int(unsigned)})"
            for each, unsigned in zip((a, b), wide, strict=True)
        )
    elif name in ("=", "!="):
        left_sql, right_sql = a.sql, b.sql
    else:
        left_sql, right_sql = ordered_sql(a), ordered_sql(b)
    if name in ("=", "!="):
        null = is_nullable(a.type) or is_nullable(b.type)
        sign = {"=": "IS", "!=": "IS NOT"}[name] if null else name
        return Code(f"({left_sql} {sign} {right_sql})", "UInt8", loose)
    sql = f"({left_sql} {name} {right_sql})"
    return Code(f"coalesce({sql}, 0)", "UInt8", loose)


def row_comparison(name: str, left: Sequence[Code], right: Sequence[Code], zone: str) -> Code:
    """`(a, b) > (x, y)`: the first items decide unless they are equal."""
    if len(left) != len(right):
        raise refused("Cannot compare tuples of different sizes")
    pairs = list(zip(left, right, strict=True))
    if name in ("=", "!="):
        parts = [comparison(name, a, b, zone) for a, b in pairs]
        joined = (" AND " if name == "=" else " OR ").join(each.sql for each in parts)
        return Code(f"({joined})", "UInt8", union_of(*parts))
    found = comparison(name, *pairs[-1], zone)
    for a, b in reversed(pairs[:-1]):
        above, same = comparison(name[0], a, b, zone), comparison("=", a, b, zone)
        sql = f"({above.sql} OR ({same.sql} AND {found.sql}))"
        found = Code(sql, "UInt8", union_of(above, same, found))
    return found


def among(row: Sequence[Code], rows: Sequence[Sequence[Code]], zone: str) -> Code:
    """IN a list of rows; a row may be of one item."""
    if any(len(each) != len(row) for each in rows):
        raise refused("Number of columns in section IN doesn't match")
    if not rows:
        return Code("0", "UInt8")
    pairs = [[matched(a, b, zone) for a, b in zip(row, each, strict=True)] for each in rows]
    mine = ", ".join(a.sql for a, _ in pairs[0])
    listed = ", ".join("(" + ", ".join(b.sql for _, b in each) + ")" for each in pairs)
    loose = union_of(*row, *(each for found in rows for each in found))
    return Code(f"coalesce(({mine}) IN (VALUES {listed}), 0)", "UInt8", loose)


def arithmetic(name: str, left: Code, right: Code, zone: str) -> Code:
    """+ - * / % and ||."""
    loose = union_of(left, right)
    kinds = bare(left.type), bare(right.type)
    null = is_nullable(left.type) or is_nullable(right.type)
    if name == "||":
        sql = f"ch_concat({text_code(left, zone)}, {text_code(right, zone)})"
        return Code(sql, "String", loose)
    if is_instant(kinds[0]) and kinds[1].startswith("Interval") and name in "+-":
        return Code(f"({left.sql} {name} {right.sql})", left.type, loose)
    if is_instant(kinds[0]) and is_instant(kinds[1]) and name == "-":
        return Code(f"(({left.sql} - {right.sql}) / 1e6)", nullable("Float64", null), loose)
    if not all(is_number(kind) or kind == "Nothing" for kind in kinds):
        raise refused(f"Illegal types {kinds[0]} and {kinds[1]} of arguments of {name}")
    if name == "/":
        return Code(f"(CAST({left.sql} AS REAL) / {right.sql})", nullable("Float64", null), loose)
    if name == "%":
        wide = int("UInt64" in kinds)
        return Code(
            f"ch_mod({left.sql}, {right.sql}, {wide})", nullable(kinds[1], null), loose
        )  # fmt: skip
    floats = any(kind.startswith("Float") for kind in kinds)
    signed = name == "-" or any(kind.startswith("Int") for kind in kinds)
    kind = "Float64" if floats else "Int64" if signed else "UInt64"
    return Code(f"({left.sql} {name} {right.sql})", nullable(kind, null), loose)
