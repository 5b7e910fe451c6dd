"""One statement that a person wrote: its result, with values as Postgres writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import asyncpg
from msgspec import Struct

from etl.errors import ConfigurationError, DestinationError, DestinationUnavailable
from etl.loaders.database import Database, translate

# Scalars of all other types are asked for as text. Python shows these as Postgres does, or they
# have no text of their own.
_PLAIN = {"bool", "int2", "int4", "int8", "oid", "text", "varchar", "bpchar", "name"}
_PLAIN |= {"float4", "float8", "record", "void"}
# The driver reads ranges only in binary form, and then also what they are made of.
_IN_RANGES = {"timestamptz", "timestamp", "date", "numeric"}
# The class of a wrong statement (syntax, unknown names, wrong types). A missing privilege is in it,
# too, and is no mistake of the statement.
_WRONG, _NO_PRIVILEGE = "42", "42501"
_MISSING = ("42P01", "3F000")
_COPY = re.compile(r"\s*copy\b.*\b(?:stdin|stdout)\b", re.IGNORECASE | re.DOTALL)
_USE_PSQL = "psql can do it: `posthog-etl sql` on a terminal"


class Answer(Struct, frozen=True):
    """The result of a statement. kinds: the types of the columns. tag: what Postgres did."""

    columns: Sequence[str]
    kinds: Sequence[str]
    rows: Sequence[Sequence[Any]]
    tag: str

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values; the second column of a name gets a number."""
        names: list[str] = []
        for at, column in enumerate(self.columns):
            number = self.columns[:at].count(column) + 1
            names.append(column if number == 1 else f"{column}_{number}")
        rows = [dict(zip(names, map(_json, row, self.kinds), strict=True)) for row in self.rows]
        return {"columns": names, "rows": rows, "status": self.tag}

    def as_text(self) -> list[list[str]]:
        """Return the rows as text, a line each."""
        return [[_text(value).replace("\n", "\\n") for value in row] for row in self.rows]


async def run_statement(database: Database, text: str) -> Answer:
    """Execute one statement in a transaction of its own, and return its result.

    It may take as long as it takes. Raises ConfigurationError if the statement is wrong, and
    DestinationError.
    """
    if _COPY.match(text):
        raise ConfigurationError("COPY cannot use standard input or output here", remedy=_USE_PSQL)
    async with database.transaction({"statement_timeout": "0"}) as connection:
        driver = connection.driver()
        with _refused(text):
            statement = await driver.prepare(text)
            if statement.get_parameters():
                raise ConfigurationError(
                    "The statement has a placeholder, as in $1",
                    remedy="Write the value in its place",
                )
            attributes = statement.get_attributes()
            kinds = {each.type for each in attributes}
            ranged = any("range" in kind.name for kind in kinds)
            kept = _PLAIN | _IN_RANGES if ranged else _PLAIN
            for kind in kinds:
                if kind.kind == "scalar" and kind.name not in kept:
                    await driver.set_type_codec(
                        kind.name, schema=kind.schema, encoder=str, decoder=str, format="text"
                    )
            # A statement keeps the codecs that it was prepared with.
            statement = await driver.prepare(text)
            found = await statement.fetch()
            tag = statement.get_statusmsg() or ""
    return Answer(
        columns=[each.name for each in attributes],
        kinds=[each.type.name for each in attributes],
        rows=[tuple(row) for row in found],
        tag=tag,
    )


@contextmanager
def _refused(text: str) -> Iterator[None]:
    """Say what is wrong with the statement. A broken connection is left to `Database`."""
    try:
        yield
    except asyncpg.PostgresError as exc:
        if isinstance(translate(exc), DestinationUnavailable):
            raise
        raise _refusal(exc, text) from exc


def _refusal(exc: Any, text: str) -> DestinationError | ConfigurationError:
    """Return our error for what Postgres says about a statement."""
    # The only error of this function of Postgres; its text is in the language of the server.
    if exc.server_source_function == "exec_parse_message":
        return ConfigurationError("That is more than one statement", remedy="Give one at a time")
    said = " ".join(exc.message.split())
    if exc.position and "\n" in text.strip():
        said += f" (line {text[: int(exc.position) - 1].count(chr(10)) + 1})"
    if exc.detail:
        said += f" ({' '.join(exc.detail.split())})"
    remedy = " ".join((exc.hint or "").split())
    if exc.sqlstate in _MISSING and not remedy:
        remedy = "Name tables with their schema (posthog.session_recordings); a sync makes them"
    if exc.sqlstate.startswith(_WRONG) and exc.sqlstate != _NO_PRIVILEGE:
        return ConfigurationError(f"The statement is wrong: {said}", remedy=remedy)
    return DestinationError(f"Postgres refused the statement: {said}", remedy=remedy)


def _json(value: Any, kind: str) -> Any:
    if isinstance(value, str) and kind in ("json", "jsonb"):
        return json.loads(value)
    if isinstance(value, str) and kind == "numeric":
        return _number(value)
    if isinstance(value, float):
        return _number(repr(value))
    if isinstance(value, asyncpg.Record | tuple | list):
        return [_json(each, "") for each in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return _text(value)


def _number(text: str) -> Any:
    """Return a number as JSON has it; as text if JSON has no such number, or not all its digits."""
    try:
        number = json.loads(text)
    except ValueError:
        return text
    exact = isinstance(number, int) or Decimal(text) == Decimal(repr(number))
    return number if exact and abs(number) != float("inf") and number == number else text


def _text(value: Any) -> str:
    """Return a value as Postgres writes it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case asyncpg.Range():
            if value.isempty:
                return "empty"
            begin, end = "[" if value.lower_inc else "(", "]" if value.upper_inc else ")"
            return f"{begin}{_text(value.lower)},{_text(value.upper)}{end}"
        case asyncpg.Record() | tuple():
            return f"({','.join(map(_text, value))})"
        case list():
            return f"{{{','.join('NULL' if each is None else _text(each) for each in value)}}}"
        case bytes():
            return f"\\x{value.hex()}"
    return str(value)
