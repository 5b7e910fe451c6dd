"""Asks a project of the sandbox in HogQL, without HTTP."""

from typing import Any

import pytest

from etl.sandbox.errors import ApiError
from etl.sandbox.hogql_database import Database, Outcome
from etl.sandbox.operations import Operations
from etl.sandbox.truth_queries import QueryTruth
from etl.sandbox.world import World
from tests.unit.sandbox.reader import small


class Asking:
    """One project, with a clock that stands still until it is moved."""

    def __init__(self, **options: Any) -> None:
        self.options = small(**{"recordings": 60, **options})
        self.world = World(self.options)
        self.project = self.world.projects[1]
        self.database = Database(self.project)
        self.operations = Operations(self.project, self.world.clock)

    def run(self, sql: str, *, converts: bool = True, **values: Any) -> Outcome:
        """The outcome of a query."""
        now_us = self.world.clock.now_us()
        cap = self.options.query_cap_rows
        return self.database.run(sql, values, self.options, now_us, cap=cap, converts=converts)

    def rows(self, sql: str, **values: Any) -> list[list[Any]]:
        """The rows of a query."""
        return self.run(sql, **values).rows

    def value(self, sql: str, **values: Any) -> Any:
        """The only value of a query."""
        ((found,),) = self.rows(sql, **values)
        return found

    def types(self, sql: str, **values: Any) -> list[str]:
        """The types of a query's columns."""
        return self.run(sql, **values).query.types

    def refusal(self, sql: str, **values: Any) -> str:
        """Why a query is refused."""
        with pytest.raises(ApiError) as raised:
            self.run(sql, **values)
        assert raised.value.status == 400
        return str(raised.value)

    def truth(self, stream: str) -> list[dict[str, Any]]:
        """What a perfect reader has."""
        return list(QueryTruth(self.project, self.world.clock.now_us()).rows(stream))

    def change(self, **spec: Any) -> dict[str, Any]:
        """Carries out a data operation."""
        return self.operations.apply(spec)
