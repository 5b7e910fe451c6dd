"""A simple reader of the sandbox, for its own tests. It trusts every answer."""

from datetime import UTC, datetime
from typing import Any

import aiohttp

from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import RunningSandbox

LIST = "/api/projects/1/session_recordings/"
Row = dict[str, Any]


def small(**changes: Any) -> SandboxOptions:
    """Options for a test: few recordings, any port, a clock that does not run."""
    chosen: dict[str, Any] = {
        "recordings": 300,
        "port": 0,
        "clock": "frozen",
        "now": datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
        **changes,
    }
    return SandboxOptions(**chosen)


class Reader:
    """Sends requests to a sandbox with one key."""

    def __init__(self, sandbox: RunningSandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session

    async def get(
        self, path: str, key: str | None = "phx_sandbox", **query: Any
    ) -> tuple[int, Any, Any]:
        """Status, JSON body (or text) and headers of one GET."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        asked = {name: str(value) for name, value in query.items()}
        url = path if path.startswith("http") else self.sandbox.url + path
        async with self.session.get(url, params=asked, headers=headers) as response:
            text = await response.text()
            if response.content_type == "application/json" and text:
                return response.status, await response.json(), response.headers
            return response.status, text, response.headers

    async def send(
        self, method: str, path: str, body: Any = None, key: str = "phx_sandbox"
    ) -> tuple[int, Any]:
        """Status and JSON body (or text) of one write."""
        headers = {"Authorization": f"Bearer {key}"}
        url = self.sandbox.url + path
        async with self.session.request(method, url, json=body, headers=headers) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def cursor_walk(self, limit: int = 97, **query: Any) -> list[Row]:
        """Every row of the cloud list, in order, by cursor."""
        rows: list[Row] = []
        query = {"date_from": "all", "limit": limit, **query}
        while True:
            status, page, _ = await self.get(LIST, **query)
            assert status == 200, page
            rows += page["results"]
            if not page["has_next"]:
                assert "next_cursor" not in page
                return rows
            assert len(page["results"]) == limit
            query["after"] = page["next_cursor"]

    async def link_walk(self, **query: Any) -> list[Row]:
        """Every row of the documented list, in order, by following `next`."""
        rows: list[Row] = []
        url = LIST
        while True:
            status, page, _ = await self.get(url, **query)
            assert status == 200, page
            rows += page["results"]
            if page["next"] is None:
                return rows
            url, query = page["next"], {}


def as_truth(row: Row) -> Row:
    """A row in the form of the truth: with the person's UUID in place of the person."""
    row = dict(row)
    person = row.pop("person")
    return {**row, "person_uuid": None if person["id"] is None else person["uuid"]}


def by_id(rows: list[Row]) -> dict[str, Row]:
    """Rows by id; every id at most once."""
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    return found
