"""Groups of the sandbox: their cursor, their properties, their log."""

from collections.abc import AsyncIterator
from itertools import chain
from typing import Any

import aiohttp
import pytest

from etl.sandbox.server import running
from tests.unit.sandbox.reader import Reader, small

GROUPS = "/api/projects/1/groups/"


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    """A reader of a small sandbox of the cloud flavour."""
    async with running(small(recordings=3)) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


@pytest.fixture
async def documented() -> AsyncIterator[Reader]:
    """The same of the docs flavour."""
    options = small(recordings=3, flavour="docs")
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


async def _walk(reader: Reader, url: str = GROUPS + "?group_type_index=0") -> list[list[str]]:
    """The keys on each page, by following next."""
    pages = []
    while url is not None:
        status, page, _ = await reader.get(url)
        assert status == 200
        pages.append([row["group_key"] for row in page["results"]])
        url = page["next"]
        assert len(pages) < 9
    return pages


def _truth(reader: Reader, index: int = 0) -> list[str]:
    groups = [g for g in reader.sandbox.control.truth()["groups"] if g["group_type_index"] == index]
    groups.sort(key=lambda g: (g["created_at"], g["group_key"]), reverse=True)
    return [group["group_key"] for group in groups]


async def test_groups_come_a_hundred_a_page_newest_first_and_then_by_key(reader: Reader) -> None:
    """Next is an absolute address with a cursor; there is no count, and no limit."""
    _, page, _ = await reader.get(GROUPS, group_type_index=0, limit=7)
    assert page.keys() == {"next", "previous", "results"}
    assert (len(page["results"]), page["previous"]) == (100, None)
    assert page["next"].startswith(
        f"{reader.sandbox.url}{GROUPS}?group_type_index=0&limit=7&cursor"
    )
    pages = await _walk(reader)
    assert ([len(page) for page in pages], list(chain(*pages))) == ([100, 50], _truth(reader))


async def test_a_cursor_that_cannot_be_read_silently_means_page_one(reader: Reader) -> None:
    """As one from before a deploy."""
    first = (await _walk(reader))[0]
    for cursor in ("broken", "", "bnVsbA==", "WyIyMDI2LTAxLTAxIiwieCJd"):
        _, page, _ = await reader.get(GROUPS, group_type_index=0, cursor=cursor)
        assert [row["group_key"] for row in page["results"]] == first


async def test_a_group_that_vanishes_between_two_pages_moves_no_other(reader: Reader) -> None:
    """The cursor is a position, not a number."""
    expected = _truth(reader)
    gone = {"op": "remove", "kind": "group", "group_type_index": 0, "group_key": expected[20]}
    rule = {"match": {"path": "/groups/"}, "fault": {"then": [gone]}, "at": 1}
    reader.sandbox.control.add_faults(rule)
    assert list(chain(*await _walk(reader))) == expected


async def test_the_documented_list_has_count_and_limit(documented: Reader) -> None:
    """And follows limit and offset."""
    _, page, _ = await documented.get(GROUPS, group_type_index=1, limit=50)
    assert (page["count"], len(page["results"]), page["previous"]) == (75, 50, None)
    pages = await _walk(documented, GROUPS + "?group_type_index=1&limit=50")
    assert list(chain(*pages)) == _truth(documented, 1)


async def test_a_list_of_groups_needs_its_type(reader: Reader) -> None:
    """400, as also for a missing key."""
    asked: list[tuple[str, dict[str, Any]]] = [
        ("", {}),
        ("", {"group_type_index": "x"}),
        ("find/", {"group_type_index": 0}),
        ("property_values/", {"group_type_index": 0}),
        ("activity/", {"group_type_index": 0, "id": "0"}),
    ]
    for path, query in asked:
        status, body, _ = await reader.get(GROUPS + path, **query)
        assert (status, body["type"]) == (400, "validation_error"), path


async def test_types_are_a_bare_array_under_one_prefix_only(reader: Reader) -> None:
    """The environments form is not there."""
    _, types, _ = await reader.get("/api/projects/1/groups_types/")
    assert [each["group_type_index"] for each in types] == [0, 1, 2]
    status, body, _ = await reader.get("/api/environments/1/groups_types/")
    assert (status, body["detail"]) == (404, "Endpoint not found.")


async def test_a_read_makes_a_notebook_unless_it_says_not_to(reader: Reader) -> None:
    """Odd keys are found too; unknown ones are 404."""
    asked = {"group_type_index": 0, "group_key": 'org/é "x"'}
    _, group, _ = await reader.get(GROUPS + "find/", skip_create_notebook="true", **asked)
    assert (group["group_key"], group["notebook"]) == ('org/é "x"', None)
    _, group, _ = await reader.get(GROUPS + "find/", **asked)
    assert group["notebook"]
    status, _, _ = await reader.get(GROUPS + "find/", group_type_index=2, group_key='org/é "x"')
    assert status == 404


async def test_only_the_twenty_most_frequent_values_are_told(reader: Reader) -> None:
    """In an object; equally frequent ones in the order of their text."""
    for nth in range(25):
        for twice in range(1 + (nth == 13)):
            group = {"group_type_index": 2, "group_key": f"{nth}.{twice}"}
            reader.sandbox.control.change(
                {"op": "put", "kind": "group", "group_properties": {"new": f"{nth:02}"}, **group}
            )
    url = f"{GROUPS}property_values/?group_type_index=2&key=new"
    _, body, _ = await reader.get(url)
    others = [{"name": f"{nth:02}", "count": 1} for nth in range(20) if nth != 13]
    assert body == {"results": [{"name": "13", "count": 2}, *others], "refreshing": False}
    _, body, _ = await reader.get(url + "&value=24")
    assert body["results"] == [{"name": "24", "count": 1}]


async def test_older_values_are_a_bare_array(documented: Reader) -> None:
    """Of groups and of sessions."""
    _, body, _ = await documented.get(f"{GROUPS}property_values/?group_type_index=0&key=plan")
    assert {row["name"] for row in body} == {"free", "team", "enterprise"}
    _, body, _ = await documented.get("/api/projects/1/sessions/values/?key=$is_bounce")
    assert body == [{"name": True}, {"name": False}]


async def test_a_property_is_set_and_taken_away_and_the_log_says_so(reader: Reader) -> None:
    """The group comes from the query; the documented body is not read."""
    asked = "?group_type_index=0&group_key=null"
    documented = {"group_properties": {"colour": "red"}}
    assert (await reader.send("POST", f"{GROUPS}update_property/{asked}", documented))[0] == 400
    change = {"key": "colour", "value": "blue"}
    _, group = await reader.send("POST", f"{GROUPS}update_property/{asked}", change)
    assert group["group_properties"]["colour"] == "blue"
    _, group = await reader.send("POST", f"{GROUPS}delete_property/{asked}", {"$unset": "colour"})
    assert "colour" not in group["group_properties"]
    _, log, _ = await reader.get(f"{GROUPS}activity/{asked}&limit=1")
    assert log["results"][0]["activity"] == "delete_property"
    assert (log["total_count"], log["previous"]) == (2, None)
    _, log, _ = await reader.get(log["next"])
    assert (log["results"][0]["activity"], log["next"]) == ("create_property", None)


async def test_a_session_property_needs_its_key(reader: Reader) -> None:
    """400; the definitions come all at once."""
    status, body, _ = await reader.get("/api/projects/1/sessions/values/")
    assert (status, body["detail"]) == (400, "Key not provided")
    _, body, _ = await reader.get("/api/projects/1/sessions/property_definitions/")
    assert body["count"] == len(body["results"]) == 40
