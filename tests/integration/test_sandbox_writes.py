"""What people make in the sandbox: subscriptions, secret keys, insights, playlists."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from etl.sandbox.resources import ENDPOINTS
from etl.sandbox.server import running
from tests.unit.sandbox.reader import LIST, Reader, small

ROOT = "/api/projects/1/"
SUBSCRIPTIONS, KEYS = ROOT + "subscriptions/", ROOT + "project_secret_api_keys/"
PLAYLISTS = ROOT + "session_recording_playlists/"
_WEEKLY = {
    "target_type": "email", "target_value": "a@example.com", "frequency": "weekly",
    "start_date": "2026-05-01T09:00:00", "insight": 10_001,
}  # fmt: skip


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    """A reader of a small sandbox of the cloud flavour."""
    async with running(small(recordings=30)) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


@pytest.fixture
async def documented() -> AsyncIterator[Reader]:
    """The same of the docs flavour."""
    options = small(recordings=30, flavour="docs")
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


async def _ids(reader: Reader, path: str, **query: Any) -> list[Any]:
    status, page, _ = await reader.get(path, **query)
    assert status == 200, page
    return [row["id"] for row in page["results"]]


async def test_deleted_subscriptions_are_listed_apart(reader: Reader) -> None:
    """Whoever wants all must ask twice; one alone is answered either way."""
    live, gone = (
        await _ids(reader, SUBSCRIPTIONS),
        await _ids(reader, SUBSCRIPTIONS, deleted="true"),
    )
    assert (len(live), len(gone)) == (10, 2)
    assert (await reader.get(f"{SUBSCRIPTIONS}{gone[0]}/"))[1]["deleted"] is True
    status, body = await reader.send("PATCH", f"{SUBSCRIPTIONS}{live[0]}/", {"deleted": True})
    assert (status, body["deleted"]) == (200, True)
    assert set(await _ids(reader, SUBSCRIPTIONS, deleted="true")) == {*gone, live[0]}


async def test_the_documented_list_knows_no_filter(documented: Reader) -> None:
    """Both requests list everything."""
    everything = await _ids(documented, SUBSCRIPTIONS)
    assert len(everything) == 12
    assert await _ids(documented, SUBSCRIPTIONS, deleted="true") == everything


async def test_a_subscription_is_never_deleted_for_good(reader: Reader) -> None:
    """405; a patch deletes."""
    status, body = await reader.send("DELETE", f"{SUBSCRIPTIONS}10001/")
    assert (status, body["code"]) == (405, "method_not_allowed")


async def test_a_new_subscription_comes_first_and_its_next_delivery_moves(reader: Reader) -> None:
    """A start without a zone is UTC."""
    status, made = await reader.send("POST", SUBSCRIPTIONS, _WEEKLY)
    assert (status, made["start_date"]) == (201, "2026-05-01T09:00:00Z")
    assert made["next_delivery_date"] == "2026-05-08T09:00:00Z"
    assert (await _ids(reader, SUBSCRIPTIONS, limit=1)) == [made["id"]]
    reader.sandbox.control.advance(5 * 86_400)
    _, later, _ = await reader.get(f"{SUBSCRIPTIONS}{made['id']}/")
    assert later == {**made, "next_delivery_date": "2026-05-15T09:00:00Z"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"frequency": "hourly"}, {"target_type": "pigeon"}, {"interval": "2"}, {"title": "x" * 101},
        {"start_date": "soon"}, {"byweekday": ["Monday"]}, {"count": 2**31}, {"deleted": 1},
    ],
)  # fmt: skip
async def test_a_subscription_that_makes_no_sense_is_refused(
    reader: Reader, wrong: dict[str, Any]
) -> None:
    """400 names the field."""
    for method, path in (("POST", SUBSCRIPTIONS), ("PATCH", f"{SUBSCRIPTIONS}10001/")):
        status, body = await reader.send(method, path, {**_WEEKLY, **wrong})
        assert (status, body["attr"]) == (400, next(iter(wrong)))


async def test_the_value_of_a_secret_key_is_told_once(reader: Reader) -> None:
    """When it is made and when it is rolled."""
    assert [row["value"] for row in (await reader.get(KEYS))[1]["results"]] == [None] * 3
    status, made = await reader.send("POST", KEYS, {"label": "New", "scopes": ["*"]})
    assert (status, made["value"][:4]) == (201, "phs_")
    assert made["mask_value"].endswith(made["value"][-4:])
    one = f"{KEYS}{made['id']}/"
    assert (await reader.get(one))[1] == {**made, "value": None}
    _, rolled = await reader.send("POST", one + "roll/")
    assert (rolled["value"] != made["value"], rolled["last_rolled_at"]) == (
        True, "2026-05-04T12:00:00Z",
    )  # fmt: skip
    assert (await reader.send("PATCH", one, {"label": "x"}))[1]["value"] is None
    assert (await reader.send("DELETE", one))[0] == 204
    assert (await reader.get(one))[0] == 404


async def test_who_made_a_key_is_a_number_only_as_documented(
    reader: Reader, documented: Reader
) -> None:
    """The real server sends the user."""
    assert (await reader.get(KEYS))[1]["results"][0]["created_by"]["email"]
    assert isinstance((await documented.get(KEYS))[1]["results"][0]["created_by"], int)


async def test_an_insight_is_deleted_and_brought_back_by_a_patch(reader: Reader) -> None:
    """Meanwhile it is listed nowhere, and its sharing is 404."""
    one = f"{ROOT}insights/10001/"
    assert (await reader.send("PATCH", one, {"deleted": True}))[0] == 200
    assert 10_001 not in await _ids(reader, ROOT + "insights/", limit=100)
    assert (await reader.get(one))[0] == 404
    status, body, _ = await reader.get(one + "sharing/")
    assert (status, body["detail"]) == (404, "Insight not found.")
    assert (await reader.send("PATCH", one, {"deleted": False}))[0] == 200
    assert (await reader.get(one))[0] == 200


async def test_insights_bring_their_results_unless_told_not_to(reader: Reader) -> None:
    """They are by far the largest part."""
    sizes = []
    for query in ({}, {"basic": "true"}):
        _, page, _ = await reader.get(ROOT + "insights/", **query)
        assert ("result" in page["results"][0]) == (not query)
        sizes.append(len(str(page)))
    assert sizes[0] > 2 * sizes[1]


async def test_a_collection_lists_the_members_that_are_still_there(reader: Reader) -> None:
    """Whenever they were recorded, in the envelope of the recordings list."""
    ids = await _ids(reader, LIST, date_from="all", limit=30)
    control = reader.sandbox.control
    for each in ids[-3:]:
        item = {"short_id": "mine", "recording_id": each}
        control.change({"op": "put", "kind": "playlist_item", **item})
    control.change({"op": "put", "kind": "playlist", "short_id": "mine"})
    members = f"{PLAYLISTS}mine/recordings/"
    _, page, _ = await reader.get(members, limit=2)
    assert ([row["id"] for row in page["results"]], page["has_next"]) == (ids[-3:-1], True)
    assert await _ids(reader, members, limit=2, after=page["next_cursor"]) == ids[-1:]
    assert (await reader.send("DELETE", f"{LIST}{ids[-2]}/"))[0] == 204
    assert await _ids(reader, members) == [ids[-3], ids[-1]]
    control.change({"op": "put", "kind": "playlist", "short_id": "mine", "type": "filters"})
    assert await _ids(reader, members) == ids[:5]


async def test_a_recording_is_marked_viewed_and_deleted(reader: Reader) -> None:
    """A patch needs a reason; a deletion may be repeated."""
    one = f"{LIST}{(await _ids(reader, LIST, date_from='all'))[3]}/"
    assert (await reader.send("PATCH", one, {"person": None}))[0] == 400
    assert await reader.send("PATCH", one, {"viewed": True}) == (200, {"success": True})
    assert (await reader.get(one))[1]["viewed"] is True
    assert [(await reader.send("DELETE", one))[0] for _ in range(2)] == [204, 204]
    assert (await reader.get(one))[0] == 404


async def test_every_address_asks_for_its_scope_or_is_closed(reader: Reader) -> None:
    """A read by its own scope, a write not by that of the read."""
    control = reader.sandbox.control
    for each in ENDPOINTS:
        path = each.addresses[0].replace("{project_id}", "1")
        for name in ("{id}", "{insight_id}", "{recording_id}", "{short_id}"):
            path = path.replace(name, "10001")
        control.put_key("phx_all", ["*"])
        status, body = await reader.send(each.method, path, key="phx_all")
        if each.scope is None:
            assert (status, body["detail"]) == (
                403, "This action does not support personal API key access",
            )  # fmt: skip
        elif each.scope:
            assert status != 403
            control.put_key("phx_none", [each.scope.replace(":write", ":read")] * (
                each.scope.endswith(":write")
            ))  # fmt: skip
            status, body = await reader.send(each.method, path, key="phx_none")
            assert (status, body["detail"]) == (
                403, f"API key missing required scope '{each.scope.split()[0]}'",
            )  # fmt: skip


def test_all_documented_pairs_of_method_and_path_are_there() -> None:
    """43, where recordings count under both prefixes; and some undocumented ones."""
    undocumented = {
        ("GET", "/groups"), ("GET", "/groups/related"), ("GET", "/insights"),
        ("GET", "/insights/{id}"), ("PATCH", "/insights/{id}"),
        ("GET", "/session_recording_playlists"), ("GET", "/session_recording_playlists/{short_id}"),
        ("PATCH", "/session_recordings/{recording_id}/sharing"),
        ("PATCH", "/insights/{insight_id}/sharing"), ("GET", ""),
    }  # fmt: skip
    # Read from PostHog's source, not from its reference.
    wider = {"persons"}
    pairs = {
        (each.method, each.path)
        for each in ENDPOINTS
        if not each.path.startswith("/api/") and each.path.strip("/").split("/")[0] not in wider
    }
    twice = {
        pair for pair in pairs if pair[1] in ("/session_recordings", "/session_recordings/{id}")
    }
    assert undocumented < pairs
    assert len(pairs - undocumented) + len(twice) == 43
