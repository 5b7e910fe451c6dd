"""Playlists of recordings, and their items."""

from typing import Any

from etl.core.budget import CLICKHOUSE
from etl.core.identity import Identity, Names
from etl.core.stream import Address, Field, Kind, Mode, Parents, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows

PLAYLIST_TABLE = TableSpec(
    name="session_recording_playlists",
    about="One row per playlist of recordings: a collection, or a saved filter.",
    key=("short_id",),
    fields=(
        Field("short_id", Kind.TEXT, "Short id, as addresses have it."),
        Field("id", Kind.BIGINT, "PostHog's numeric id.", lenient=True),
        Field("name", Kind.TEXT, "Name."),
        Field("derived_name", Kind.TEXT, "Name made from the filters.", null_keeps=True),
        Field("description", Kind.TEXT, "Description."),
        Field("type", Kind.TEXT, "collection or filters; null on old servers.", null_keeps=True),
        Field("pinned", Kind.BOOLEAN, "Whether it is pinned."),
        Field("deleted", Kind.BOOLEAN, "Whether a user deleted it."),
        Field("filters", Kind.JSON, "The saved filter, as JSON."),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field("last_modified_at", Kind.INSTANT, "When a user last changed it."),
        Field("last_modified_by", Kind.BIGINT, "Id of that user, see users.", null_keeps=True),
        Field(
            "recordings_counts",
            Kind.JSON,
            "How many recordings it has, as JSON; counted now and then.",
            volatile=True,
            null_keeps=True,
        ),
        Field("is_synthetic", Kind.BOOLEAN, "Whether PostHog made it.", null_keeps=True),
        Field("user_access_level", Kind.TEXT, "What the key's owner may do.", null_keeps=True),
    ),
)

PLAYLIST_ITEMS = TableSpec(
    name="session_recording_playlist_items",
    about="Which recordings are in which collection. A saved filter has no items.",
    key=("short_id", "recording_id"),
    identities=(Identity("recording_id", Names.RECORDING),),
    fields=(
        Field("short_id", Kind.TEXT, "Short id of the playlist."),
        Field("recording_id", Kind.TEXT, "Id of the recording, see session_recordings."),
    ),
)

_ITEM = ("short_id", "id")


def only_id(record: dict[str, Any]) -> dict[str, Any]:
    """Return only the key of an item: another stream reads the recording itself."""
    return {name: value for name, value in record.items() if name in _ITEM}


PLAYLISTS = Stream(
    name="playlists",
    about="Playlists and the recordings in them",
    scope="session_recording_playlist:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            lists=(Address("session_recording_playlists/"),),
            one=Address("session_recording_playlists/{short_id}/"),
            key=("short_id",),
            created="created_at",
            tables=(PLAYLIST_TABLE, USERS),
            transform=object_rows(PLAYLIST_TABLE, users=("created_by", "last_modified_by")),
        ),
        Resource(
            lists=(Address("session_recording_playlists/{short_id}/recordings/"),),
            key=_ITEM,
            order="start_time",
            # The server finds the items of a collection by their ids, whatever page is asked for.
            repeats=True,
            budget_classes=(CLICKHOUSE,),
            # What a saved filter finds changes by itself, so it is not read as items.
            parents=Parents(
                "session_recording_playlists",
                {"short_id": "short_id"},
                where="t.type IS DISTINCT FROM 'filters' AND t.deleted IS NOT TRUE",
            ),
            tables=(PLAYLIST_ITEMS,),
            redact=only_id,
            transform=object_rows(PLAYLIST_ITEMS, key=_ITEM),
        ),
    ),
)
