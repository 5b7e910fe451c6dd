"""Keys, scopes, addresses and limits of the sandbox."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from etl.sandbox.server import running
from tests.unit.sandbox.reader import LIST, Reader, small


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    """A reader of a sandbox with two projects."""
    options = small(projects=(1, 22), recordings=30)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


def _error(type: str, code: str, detail: str) -> dict[str, Any]:
    return {"type": type, "code": code, "detail": detail, "attr": None}


async def test_without_a_key_or_with_a_wrong_one_nothing_is_answered(reader: Reader) -> None:
    """401, with the words for each case."""
    status, body, headers = await reader.get(LIST, key=None)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert body == _error(
        "authentication_error", "not_authenticated",
        "Authentication credentials were not provided.",
    )  # fmt: skip
    status, body, _ = await reader.get(LIST, key="phx_wrong")
    assert status == 401
    assert body == _error(
        "authentication_error", "authentication_failed",
        "Personal API key found in request Authorization header is invalid.",
    )  # fmt: skip
    reader.sandbox.control.put_key("phx_gone", active=False)
    assert (await reader.get(LIST, key="phx_gone"))[0] == 401


async def test_the_documentation_has_other_words_for_a_wrong_key() -> None:
    """Another code, and no `attr`."""
    options = small(flavour="docs", recordings=3)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        status, body, _ = await Reader(sandbox, session).get(LIST, key="phx_wrong")
        assert (status, body["code"]) == (401, "invalid_personal_api_key")
        assert "attr" not in body


async def test_only_the_first_key_found_is_tried(reader: Reader) -> None:
    """A good one in the query does not help a bad one in the header."""
    assert (await reader.get(LIST, key=None, personal_api_key="phx_sandbox"))[0] == 200
    status, _, _ = await reader.get(LIST, key="phx_wrong", personal_api_key="phx_sandbox")
    assert status == 401


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        (["*"], 200),
        (["session_recording:read"], 200),
        (["session_recording:write"], 200),
        (["insight:read"], 403),
        ([], 403),
    ],
)
async def test_a_key_needs_the_scope(reader: Reader, scopes: list[str], status: int) -> None:
    """Write covers read, and `*` all."""
    reader.sandbox.control.put_key("phx_scoped", scopes)
    answered, body, _ = await reader.get(LIST, key="phx_scoped")
    assert answered == status
    if status == 403:
        detail = "API key missing required scope 'session_recording:read'"
        assert body == _error("authentication_error", "permission_denied", detail)


async def test_a_key_can_be_kept_to_some_projects(reader: Reader) -> None:
    """403 names the project; the list of projects shows only the allowed ones."""
    reader.sandbox.control.put_key("phx_one", projects=[22])
    status, body, _ = await reader.get(LIST, key="phx_one")
    assert (status, body["detail"]) == (
        403, "API key does not have access to the requested project: ID 1.",
    )  # fmt: skip
    _, page, _ = await reader.get("/api/projects/", key="phx_one")
    assert [project["id"] for project in page["results"]] == [22]
    _, current, _ = await reader.get("/api/projects/@current/", key="phx_one")
    assert current["id"] == 22
    _, key, _ = await reader.get("/api/personal_api_keys/@current", key="phx_one")
    assert (key["scopes"], key["scoped_teams"]) == (["*"], [22])


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/api/projects/1/session_recordings", 200, None),
        ("/api/environments/1/session_recordings/", 200, None),
        ("/api/projects/@current/session_recordings/", 200, None),
        ("/api/projects/mine/session_recordings/", 404, "Project not found."),
        ("/api/projects/77/session_recordings/", 404, "Project not found."),
        ("/api/projects/1/nothing/", 404, "Endpoint not found."),
        ("/api/nothing", 404, "Endpoint not found."),
        ("/api/projects/1/session_recordings/unknown/", 404, "Recording not found"),
    ],
)
async def test_addresses_answer_as_on_the_real_server(
    reader: Reader, path: str, status: int, detail: str | None
) -> None:
    """With and without the last slash, under both prefixes."""
    answered, body, _ = await reader.get(path)
    assert (answered, body.get("detail")) == (status, detail)
    if detail is not None:
        assert (body["type"], body["code"]) == ("invalid_request", "not_found")


async def test_another_method_is_not_allowed(reader: Reader) -> None:
    """405."""
    async with reader.session.put(reader.sandbox.url + LIST) as response:
        code = (await response.json())["code"]
        assert (response.status, code) == (405, "method_not_allowed")


async def test_projects_have_data_of_their_own(reader: Reader) -> None:
    """An id of one is unknown in another."""
    _, page, _ = await reader.get(LIST, date_from="all")
    wanted = page["results"][0]["id"]
    assert (await reader.get(f"{LIST}{wanted}/"))[0] == 200
    assert (await reader.get(f"/api/projects/22/session_recordings/{wanted}/"))[0] == 404


async def test_one_recording_has_sizes_but_no_score(reader: Reader) -> None:
    """And all distinct ids of its person, up to ten."""
    _, page, _ = await reader.get(LIST, date_from="all", limit=30)
    for row in page["results"]:
        _, one, _ = await reader.get(f"{LIST}{row['id']}/")
        assert one["activity_score"] is None
        assert one["event_count"] >= row["click_count"]
        assert (
            row["distinct_id"] in one["person"]["distinct_ids"]
            or len(one["person"]["distinct_ids"]) == 10
        )
        skipped = ("person", "activity_score", "total_size", "event_count", "matches_filters")
        assert {k: v for k, v in one.items() if k not in skipped} == {
            k: v for k, v in row.items() if k not in skipped
        }


async def test_a_project_token_overrides_the_project_of_the_address(reader: Reader) -> None:
    """Which is why a client never sends one."""
    _, ours, _ = await reader.get(LIST, limit=1)
    _, other, _ = await reader.get(LIST, limit=1, token="phc_sandbox_22")
    assert ours["results"][0]["id"] != other["results"][0]["id"]


async def test_limits_are_enforced_by_the_sandboxs_clock() -> None:
    """Header and text name the same wait, after which requests go on."""
    options = small(recordings=5, limits="free")
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        for _ in range(12):
            assert (await reader.get(LIST))[0] == 200
            sandbox.control.advance(1)
        status, body, headers = await reader.get(LIST)
        assert (status, headers["Retry-After"], body["code"]) == (429, "48", "throttled")
        assert body["detail"] == "Request was throttled. Expected available in 48 seconds."
        sandbox.control.put_key("phx_other")
        assert (await reader.get(LIST, key="phx_other"))[0] == 200
        sandbox.control.advance(48)
        assert (await reader.get(LIST))[0] == 200
        for _ in range(47):
            sandbox.control.advance(5)
            await reader.get(LIST)
        status, body, headers = await reader.get(LIST)
        assert (status, int(headers["Retry-After"]) > 3000) == (429, True)


async def test_answers_carry_the_sandboxs_own_time(reader: Reader) -> None:
    """In the Date header."""
    reader.sandbox.control.advance(61)
    _, _, headers = await reader.get(LIST)
    assert headers["Date"] == "Mon, 04 May 2026 12:01:01 GMT"
