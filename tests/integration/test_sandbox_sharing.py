"""Sharing in the sandbox, and faults on the lists of what people made."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from etl.sandbox.server import running
from tests.unit.sandbox.reader import Reader, small

ROOT = "/api/projects/1/"
ANY = ROOT + "session_recordings/anything/sharing/"
LISTS = (
    "subscriptions/", "insights/?basic=true", "session_recording_playlists/",
    "project_secret_api_keys/", "groups/?group_type_index=0",
)  # fmt: skip


@pytest.fixture(params=["cloud", "docs"])
async def reader(request: pytest.FixtureRequest) -> AsyncIterator[Reader]:
    """A reader of a small sandbox of each flavour."""
    options = small(recordings=5, flavour=request.param)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


async def test_what_was_never_shared_has_a_new_token_every_time(reader: Reader) -> None:
    """For any id of a recording, there or not; nothing is kept."""
    _, first, _ = await reader.get(ANY)
    _, second, _ = await reader.get(ANY)
    assert first.pop("access_token") != second.pop("access_token")
    assert first == second
    assert (first["enabled"], first["created_at"], first["share_passwords"]) == (False, None, [])


async def test_sharing_that_was_switched_on_keeps_its_token_until_it_is_refreshed(
    reader: Reader,
) -> None:
    """Also when it is switched off again."""
    _, shared = await reader.send("PATCH", ANY, {"enabled": True})
    _, again, _ = await reader.get(ANY)
    assert again == shared
    assert (shared["enabled"], shared["created_at"]) == (True, "2026-05-04T12:00:00Z")
    _, off = await reader.send("PATCH", ANY, {"enabled": False})
    assert off == {**shared, "enabled": False}
    reader.sandbox.control.advance(60)
    _, new = await reader.send("POST", ANY + "refresh/")
    assert new["access_token"] != shared["access_token"]
    assert new["created_at"] == "2026-05-04T12:01:00Z"


async def test_a_password_is_told_once_and_vanishes_when_it_is_deleted(reader: Reader) -> None:
    """Real servers refuse one that is not asked for; the documentation has another answer."""
    documented = reader.sandbox.control.state()["flavour"] == "docs"
    if not documented:
        status, body = await reader.send("POST", ANY + "passwords/", {})
        assert (status, body.keys()) == (400, {"error"})
    await reader.send("PATCH", ANY, {"enabled": True, "password_required": True})
    status, made = await reader.send("POST", ANY + "passwords/", {"note": "for you"})
    _, shared, _ = await reader.get(ANY)
    (listed,) = shared["share_passwords"]
    if documented:
        assert (status, made) == (200, shared)
    else:
        assert (status, len(made.pop("password")) >= 8) == (201, True)
        assert made == {name: listed[name] for name in made}
    assert "password" not in listed
    one = f"{ANY}passwords/{listed['id']}/"
    assert [(await reader.send("DELETE", one))[0] for _ in range(2)] == [204, 404]
    assert (await reader.get(ANY))[1]["share_passwords"] == []


@pytest.mark.parametrize(("page", "fields"), [("A", 3), ("C", 6), ("D", 6)])
async def test_the_documented_pages_have_sharing_in_three_forms(page: str, fields: int) -> None:
    """One has three fields, one has its passwords as text."""
    options = small(recordings=5, flavour="docs", page_version=page)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        await reader.send("POST", ANY + "passwords/", {"enabled": True})
        _, shared, _ = await reader.get(ANY)
        assert len(shared) == fields
        passwords = shared.get("share_passwords")
        assert len(json.loads(passwords) if page == "C" else passwords or ["none"]) == 1


def _keys(page: Any) -> list[str]:
    return [json.dumps(row, sort_keys=True) for row in page["results"]]


@pytest.mark.parametrize("path", LISTS)
async def test_every_list_can_be_spoilt_in_the_same_ways(reader: Reader, path: str) -> None:
    """Whatever is in it, and however it is paged."""
    control = reader.sandbox.control
    url = f"{ROOT}{path}{'&' if '?' in path else '?'}limit=100"

    async def spoilt(at: str = url, **fault: Any) -> Any:
        control.clear_faults()
        control.add_faults({"match": {"path": path.split("?")[0]}, "fault": fault, "at": [1]})
        return (await reader.get(at))[1]

    whole = (await reader.get(url))[1]
    rows = _keys(whole)
    assert len(rows) > 2
    assert _keys(await spoilt(omit=[0, -1])) == rows[1:-1]
    assert _keys(await spoilt(duplicate_rows=True)) == [row for row in rows for _ in "12"]
    changed = await spoilt(mutate={"record": 1, "set": {"created_at": None}})
    assert [row["created_at"] for row in changed["results"][:3]].index(None) == 1
    first = await spoilt(clamp_limit=2)
    assert _keys(first) == rows[:2]
    second = await spoilt(first["next"], clamp_limit=2)
    assert _keys(second) == rows[2:4]
    assert _keys(await spoilt(first["next"], restart_cursor=True, clamp_limit=2)) == rows[:2]
    assert (await spoilt(first["next"], repeat_cursor=True))["next"] == first["next"]
    await spoilt(repeat_page=True, clamp_limit=2)
    control.add_faults({"match": {"path": path.split("?")[0]}, "fault": {"repeat_page": True}})
    assert _keys((await reader.get(first["next"]))[1]) == rows[:2]
    empty = await spoilt(first["next"], empty_page=True)
    assert empty["results"] == []
    assert _keys((await reader.get(empty["next"]))[1])[:1] == rows[2:3]
    away = await spoilt(clamp_limit=1, next_host="http://evil.example")
    assert away["next"].startswith(f"http://evil.example{ROOT}")
    assert (await spoilt(status=402))["code"] == "payment_required"
