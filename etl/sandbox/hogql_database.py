"""Carries out compiled queries over the data of one project, in an SQLite database in memory."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etl.sandbox.hogql import Compiled, compile_hogql
from etl.sandbox.hogql_rows import WITH_FUTURE, Rows
from etl.sandbox.hogql_schema import schema_of
from etl.sandbox.hogql_tokens import refused
from etl.sandbox.hogql_types import shown
from etl.sandbox.hogql_udf import Raised, register
from etl.sandbox.options import SandboxOptions
from etl.sandbox.world import Project

_ROW_BYTES = {"events": 700, "persons": 400, "sessions": 300}
_OTHER_ROW_BYTES = 200
_SEEN = "seen_us"
"""From when on a row can be seen."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a query found, and what it read for that."""

    query: Compiled
    rows: list[list[Any]]
    rows_read: int
    bytes_read: int


class Database:
    """The tables of one project, each filled when it is first asked for and when it has changed."""

    def __init__(self, project: Project) -> None:
        """Opens nothing yet."""
        self._project = project
        self._connection: sqlite3.Connection | None = None
        self._raised = Raised()
        self._filled: dict[str, tuple[object, int, int]] = {}

    def run(
        self,
        text: str,
        values: Mapping[str, Any],
        options: SandboxOptions,
        now_us: int,
        *,
        cap: int,
        converts: bool = True,
    ) -> Outcome:
        """The answer to a query. Raises ApiError 400 with the reason for what can't be answered.

        cap: the most rows. converts: whether instants are in the project's time zone, not in UTC.
        """
        zone = options.timezone if converts else "UTC"
        schema = schema_of(options.sessions_version)
        query = compile_hogql(text, values, schema, zone, cap)
        for table, _ in query.reads:
            self._fill(table, options, now_us)
        self._open().execute("UPDATE clock SET now_us = ?", (now_us,))
        bound = {**query.bound, "now": now_us}
        found = self._fetch(query.sql, bound)
        rows = [
            [shown(value, kind, zone) for value, kind in zip(row, query.types, strict=True)]
            for row in found
        ]
        rows_read = bytes_read = 0
        for table, counting in query.reads:
            count = self._fetch(counting, bound)[0][0]
            rows_read += count
            bytes_read += count * _ROW_BYTES.get(table, _OTHER_ROW_BYTES)
        return Outcome(query, rows, rows_read, bytes_read)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # Queries of one project are carried out one after the other, in whichever thread.
            self._connection = sqlite3.connect(
                ":memory:", check_same_thread=False, isolation_level=None
            )
            self._connection.execute("CREATE TABLE clock AS SELECT 0 AS now_us")
            register(self._connection, self._raised)
        return self._connection

    def _fetch(self, sql: str, bound: Mapping[str, Any]) -> list[Any]:
        connection = self._open()
        self._raised.error = None
        try:
            return connection.execute(sql, bound).fetchall()
        except sqlite3.Error as exc:
            if self._raised.error is not None:
                raise self._raised.error from exc
            raise refused(f"The sandbox can't answer this query: {exc}") from exc

    def _fill(self, table: str, options: SandboxOptions, now_us: int) -> None:
        """Fills a table anew if its data has changed, or if more has become visible."""
        self._project.columns.grow_to(now_us)
        state = self._state(table)
        state_before, from_us, until_us = self._filled.get(table, (None, 0, 0))
        if state is not None and state == state_before and from_us <= now_us < until_us:
            return
        connection = self._open()
        columns = [f'"{column}"' for column in schema_of(3)[table]]
        held = table
        if table in WITH_FUTURE:
            held, shown_ones = f"{table} with future", ", ".join(columns)
            columns.append(_SEEN)
            connection.execute(
                f'CREATE VIEW IF NOT EXISTS "{table}" AS SELECT {shown_ones} FROM "{held}" '
                f"WHERE {_SEEN} <= (SELECT now_us FROM clock)"
            )
        connection.execute(f'DROP TABLE IF EXISTS "{held}"')
        connection.execute(f'CREATE TABLE "{held}" ({", ".join(columns)})')
        rows = Rows(self._project, now_us, options.timezone)
        marks = ", ".join("?" * len(columns))
        connection.execute("BEGIN")
        connection.executemany(f'INSERT INTO "{held}" VALUES ({marks})', map(tuple, rows.of(table)))
        connection.execute("COMMIT")
        self._filled[table] = (state, now_us, rows.until_us)

    def _state(self, table: str) -> object:
        """What a table depends on; None for small ones, which are filled each time."""
        project = self._project
        if table in ("events", "sessions"):
            return project.events.version, project.owners.version, len(project.columns)
        if table in ("persons", "raw_persons", "person_distinct_ids"):
            return project.owners.version
        if table.endswith("session_replay_events"):
            return project.version
        return None
