"""What an expression of HogQL is as SQL for SQLite, and what a function makes of others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from etl.sandbox.hogql_types import bare, is_nullable, literal_type


@dataclass(frozen=True, slots=True)
class Code:
    """An expression as SQL.

    loose: the columns that it uses outside of aggregates.
    literal: the value, if it is one.
    """

    sql: str
    type: str
    loose: frozenset[str] = frozenset()
    literal: object = ...


class Made(NamedTuple):
    """SQL and type of a call."""

    sql: str
    type: str


class Function(NamedTuple):
    """How many arguments a function takes (None: any number), and how it is written."""

    least: int
    most: int | None
    make: Callable[[list[Code], str], Made]
    """From the arguments, and the project's time zone."""
    aggregate: bool = False


def quoted(text: str) -> str:
    """A text as SQLite writes it."""
    return "'" + text.replace("'", "''") + "'"


def any_null(args: list[Code]) -> bool:
    """Whether one of them may be null."""
    return any(is_nullable(each.type) for each in args)


def joined(args: list[Code]) -> str:
    """Their SQL between commas."""
    return ", ".join(each.sql for each in args)


def ordered_sql(code: Code) -> str:
    """SQL by whose order ClickHouse orders: UUIDs by their second half (ClickHouse docs, UUID)."""
    kind = bare(code.type)
    if kind == "UUID":
        return f"(substr({code.sql}, 20) || substr({code.sql}, 1, 19))"
    return f"ch_ordered({code.sql})" if kind == "UInt64" else f"{code.sql}"


def text_code(code: Code, zone: str) -> str:
    """SQL of an expression as text."""
    return f"ch_text({code.sql}, {quoted(code.type)}, {quoted(zone)})"


def literal_code(value: object, name: str) -> Code:
    """A literal that is bound under this name."""
    return Code(f":{name}", literal_type(value), literal=value)
