"""A place goes through a checkpoint unchanged, and one that does not fit is not resumed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from etl.core.coverage import Span
from etl.core.place import WORTH_RESUMING, RecordingsPlace, SnapshotPlace, Traits
from etl.core.walk import CursorWalk, Listing, OffsetWalk
from etl.core.window import Window

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RECORDINGS = RecordingsPlace(
    fingerprint="ours",
    began_at=NOON,
    window=Window(NOON - DAY, NOON, also_since=NOON - 3 * DAY),
    asked=Span(NOON - 4 * DAY, NOON + DAY),
    filters=True,
    low=NOON - timedelta(hours=2, microseconds=1),
    edge=["a", "\ud800", "\0"],
    stretch=Window(NOON - DAY / 2, NOON),
    longest=timedelta(hours=1.5),
    walk=CursorWalk(after="next").position(),
    traits=Traits("cursor", "honoured", clamp=100),
)
SNAPSHOT = SnapshotPlace(
    fingerprint="ours", began_at=NOON, at=NOON, stage=1, parent=["a", 2], took=[(3, 1)]
)


def kept(place: Any) -> Any:
    """What a checkpoint gives back."""
    return json.loads(json.dumps(place.position()))


def test_a_place_goes_through_a_checkpoint_unchanged() -> None:
    """To the microsecond, whatever a key holds."""
    assert RecordingsPlace.resume(kept(RECORDINGS), "ours") == RECORDINGS
    assert SnapshotPlace.resume_at(kept(SNAPSHOT), "ours", NOON) == SNAPSHOT


@pytest.mark.parametrize(
    "position",
    [
        None,
        {},
        kept(SNAPSHOT),
        {**kept(RECORDINGS), "fingerprint": "theirs"},
        {**kept(RECORDINGS), "since": NOON.isoformat()},
        {**kept(RECORDINGS), "walk": {"by": "magic"}},
        {**kept(RECORDINGS), "began_at": "2026-05-04T12:00:00"},
        {**kept(RECORDINGS), "window": {"since": "2026-05-04T12:00:00"}},
    ],
    ids=["none", "empty", "snapshot", "other list", "other version", "walk", "instant", "window"],
)
def test_what_is_no_place_of_this_list_is_not_resumed(position: dict[str, Any] | None) -> None:
    """Then the window is read from its beginning."""
    assert RecordingsPlace.resume(position, "ours") is None


def test_a_snapshot_is_resumed_for_two_hours() -> None:
    """What was read before that is not worth much any more."""
    assert SnapshotPlace.resume_at(kept(SNAPSHOT), "ours", NOON + WORTH_RESUMING) == SNAPSHOT
    assert SnapshotPlace.resume_at(kept(SNAPSHOT), "ours", NOON + 2 * WORTH_RESUMING) is None


def test_a_snapshot_begins_the_list_anew_that_it_read_by_offset() -> None:
    """No server keeps our place there; by cursor it does."""
    walk = OffsetWalk()
    walk.take(walk.ask(5), Listing(["a"], [True], more=True))
    by_offset = replace(SNAPSHOT, walk=walk.position())
    by_cursor = replace(SNAPSHOT, walk=CursorWalk(after="next").position())
    assert SnapshotPlace.resume_at(kept(by_offset), "ours", NOON) == SNAPSHOT
    assert SnapshotPlace.resume_at(kept(by_cursor), "ours", NOON) == by_cursor


def test_the_next_older_window_goes_on_only_under_a_cursor() -> None:
    """It has to begin where this one ends, and this one to be read completely."""
    older = Window(NOON - 2 * DAY, NOON - DAY, also_since=NOON - 3 * DAY)
    read = replace(RECORDINGS, ended=True, stretch=None)
    follows = read.followed_by(older)
    assert follows is not None
    assert (follows.window, follows.walk, follows.ended) == (older, read.walk, False)
    for other in (
        RECORDINGS,
        replace(read, complete=False),
        replace(read, ordered=False),
        replace(read, walk=OffsetWalk().position()),
        replace(read, window=replace(read.window, since=NOON - DAY / 2)),
    ):
        assert other.followed_by(older) is None
