"""How the sandbox lists dashboards and definitions: what it hides, in which order; what writes."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from etl.sandbox.server import running
from tests.support.streams import put
from tests.unit.sandbox.reader import Reader, small

ROOT = "/api/projects/1"


@pytest_asyncio.fixture
async def reader() -> AsyncIterator[Reader]:
    """A reader of a sandbox with nothing but what a test puts there."""
    options = small(recordings=0, others=0, insights=0, subscriptions=0)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


async def rows(reader: Reader, path: str, **query: Any) -> list[Any]:
    """The rows of one page."""
    status, body, _ = await reader.get(f"{ROOT}/{path}", **query)
    assert status == 200, body
    return list(body["results"]) if isinstance(body, dict) else list(body)


async def test_dashboards_come_pinned_first_and_then_by_name(reader: Reader) -> None:
    """Unlisted ones only where they are asked for, deleted ones nowhere."""
    reader.sandbox.control.change(
        put("dashboard", id=1, name="b"),
        put("dashboard", id=2, name="a"),
        put("dashboard", id=3, name="z", pinned=True),
        put("dashboard", id=4, name="hidden", creation_mode="unlisted"),
        put("dashboard", id=5, name="gone", deleted=True),
    )
    assert [row["id"] for row in await rows(reader, "dashboards/")] == [3, 2, 1]
    unlisted = await rows(reader, "dashboards/", creation_mode="unlisted")
    assert [row["id"] for row in unlisted] == [4]
    statuses = [(await reader.get(f"{ROOT}/dashboards/{n}/sharing/"))[0] for n in (1, 4, 5)]
    assert statuses == [200, 200, 404]


async def test_to_open_a_dashboard_or_a_definition_writes(reader: Reader) -> None:
    """So a reader that does it changes what it reads."""
    uuid = "00000000-0000-4000-8000-000000000001"
    reader.sandbox.control.change(
        put("dashboard", id=1),
        put("event_definition", id=uuid, name="e"),
        put("property_definition", id=uuid, name="p"),
    )
    for path, field, single in (
        ("dashboards/", "last_accessed_at", "1"),
        ("event_definitions/", "updated_at", uuid),
        ("property_definitions/", "updated_at", uuid),
    ):
        assert (await rows(reader, path))[0][field] is None
        assert (await reader.get(f"{ROOT}/{path}{single}/"))[0] == 200
        assert (await rows(reader, path))[0][field] is not None


async def test_properties_are_listed_by_type_and_the_last_page_is_longer(reader: Reader) -> None:
    """Without what is internal; confirmed ones first, then by name, then what is computed."""
    of_group = {"type": "group", "group_type_index": 0}
    reader.sandbox.control.change(
        put("property_definition", name="$set"),
        put("property_definition", name="plan"),
        put("property_definition", name="b", **of_group),
        put("property_definition", name="a", **of_group),
        put("property_definition", name="c", verified=True, **of_group),
    )
    assert [row["name"] for row in await rows(reader, "property_definitions/")] == ["plan"]
    assert await rows(reader, "property_definitions/", type="session") == []
    pages = [
        await rows(reader, "property_definitions/", limit=2, offset=offset, **of_group)
        for offset in (0, 1)
    ]
    names = [[row["name"] for row in page] for page in pages]
    assert names == [["c", "a"], ["a", "b", "$virt_revenue"]]
    _, body, _ = await reader.get(f"{ROOT}/property_definitions/", limit=2, **of_group)
    assert body["count"] == 4


@pytest.mark.parametrize(
    "query",
    [
        {"type": "group"},
        {"type": "group", "group_type_index": 5},
        {"type": "group", "group_type_index": "x"},
        {"type": "person", "group_type_index": 0},
        {"type": "planet"},
    ],
)
async def test_a_type_that_makes_no_sense_is_a_400(reader: Reader, query: dict[str, Any]) -> None:
    """Groups need the index of their type, and the others must not have one."""
    assert (await reader.get(f"{ROOT}/property_definitions/", **query))[0] == 400


async def test_events_come_by_name_if_that_is_asked_for(reader: Reader) -> None:
    """Hidden ones too, unless they are excluded."""
    reader.sandbox.control.change(
        put("event_definition", name="b", hidden=True),
        put("event_definition", name="a"),
        put("event_definition", name="c"),
    )
    by_name = await rows(reader, "event_definitions/", ordering="name")
    assert [row["name"] for row in by_name] == ["a", "b", "c"]
    shown = await rows(reader, "event_definitions/", ordering="name", exclude_hidden="true")
    assert [row["name"] for row in shown] == ["a", "c"]


async def test_only_active_users_are_shown_as_collaborators(reader: Reader) -> None:
    """Of one dashboard, as a bare array; a dashboard that is gone is a 404."""
    reader.sandbox.control.change(
        put("dashboard", id=1),
        put("dashboard", id=2),
        put("collaborator", dashboard_id=1, user=1),
        put("collaborator", dashboard_id=1, user=2, is_active=False),
        put("collaborator", dashboard_id=2, user=3),
    )
    found = await rows(reader, "dashboards/1/collaborators/")
    assert [row["user"]["id"] for row in found] == [1]
    assert (await reader.get(f"{ROOT}/dashboards/3/collaborators/"))[0] == 404
