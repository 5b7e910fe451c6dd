"""Playlists of recordings: collections and saved filters, and the recordings in them."""

from typing import Any

from aiohttp import web

from etl.sandbox.clock import HOUR_US, to_datetime
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.kinds import Playlist
from etl.sandbox.lists import by_offset, newest_first, single
from etl.sandbox.recordings import list_only
from etl.sandbox.staff import shown_user
from etl.sandbox.views import Window

READ = "session_recording_playlist:read"
_FOUND_BY_FILTERS = 5


def _members(call: Call, playlist: Playlist) -> list[str]:
    items = call.store.playlist_items.values()
    return [each.recording_id for each in items if each.short_id == playlist.short_id]


def _shown(call: Call, playlist: Playlist) -> dict[str, Any]:
    collected = len(_members(call, playlist)) if playlist.type == "collection" else None
    counted_at = to_datetime(call.now_us // HOUR_US * HOUR_US)
    row: dict[str, Any] = {
        "id": playlist.id,
        "short_id": playlist.short_id,
        "name": playlist.name,
        "derived_name": playlist.derived_name,
        "description": playlist.description,
        "pinned": playlist.pinned,
        "created_at": playlist.created_at,
        "created_by": shown_user(call, playlist.created_by),
        "deleted": playlist.deleted,
        "filters": playlist.filters,
        "last_modified_at": playlist.last_modified_at,
        "last_modified_by": shown_user(call, playlist.last_modified_by),
        "recordings_counts": {
            "collection": {"count": collected, "watched_count": 0},
            "saved_filters": {"count": None, "has_more": None, "last_refreshed_at": counted_at},
        },
        "type": playlist.type,
    }
    if call.is_cloud:
        row |= {"is_synthetic": playlist.is_synthetic, "user_access_level": "editor"}
    return row


async def _list(call: Call) -> web.Response:
    """What was changed last comes first; deleted ones are left out."""
    found = [each for each in call.store.playlists.values() if not each.deleted]
    found.sort(key=lambda each: newest_first(each.last_modified_at, each.short_id), reverse=True)
    return by_offset(call, found, lambda each: _shown(call, each))


def _asked(call: Call) -> Playlist:
    playlist = call.store.playlists.get(call.request.match_info["short_id"])
    if playlist is None or playlist.deleted:
        raise not_found("Not found.")
    return playlist


async def _retrieve(call: Call) -> web.Response:
    return single(call, _shown(call, _asked(call)))


async def _recordings(call: Call) -> web.Response:
    """A collection's members that can still be seen; of a saved filter the newest five."""
    playlist, project = _asked(call), call.project
    if playlist.type != "filters":
        return list_only(call, tuple(_members(call, playlist)))
    newest = project.views.view(Window(), "start_time", call.now_us).numbers[-_FOUND_BY_FILTERS:]
    return list_only(call, tuple(project.data.recording_id(number) for number in newest))


_ONE = "/session_recording_playlists/{short_id}"
ENDPOINTS = (
    Endpoint("GET", "/session_recording_playlists", READ, _list),
    Endpoint("GET", _ONE, READ, _retrieve),
    Endpoint("GET", _ONE + "/recordings", READ, _recordings, ("clickhouse",)),
)
