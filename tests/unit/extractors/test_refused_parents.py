"""Parents whose lists are refused: each counts once, wherever a reading is broken off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from etl.core.place import SnapshotPlace
from etl.errors import ForeignAnswer, StreamUnavailable
from etl.extractors.protocol import Answer, Request
from etl.extractors.single import SingleReader
from etl.extractors.snapshot import SnapshotReader
from etl.streams.activity import SUBSCRIPTION_DELIVERIES

(DELIVERIES,) = SUBSCRIPTION_DELIVERIES.resources
START = datetime(2026, 5, 1, tzinfo=UTC)
CLOSED = StreamUnavailable("Not yours", status=403, code="permission_denied")
BLOCKED = ForeignAnswer("A firewall answered", status=403)


@dataclass
class Server:
    """Lists of deliveries, all of them empty. It is the client that asks it, too.

    refuses: by subscription, the error that its list is answered with.
    """

    refuses: Mapping[int, Exception]
    asked: list[int] = field(default_factory=list)
    now = source_now = START

    async def fetch(self, request: Request, **_: Any) -> Answer:
        """Answer the list of one subscription."""
        parent = int(request.path.split("/")[5])
        self.asked.append(parent)
        if parent in self.refuses:
            raise self.refuses[parent]
        return Answer(json.dumps({"next": None, "results": []}).encode(), START, START)


async def read(
    server: Server, parents: int, place: SnapshotPlace, dies_after: int | None = None
) -> SnapshotPlace:
    """Read the lists of so many subscriptions on from `place`; return the last place committed."""

    async def next_parents(after: Sequence[Any] | None, limit: int) -> list[dict[str, Any]]:
        reached = 0 if after is None else after[0]
        return [{"subscription": each} for each in range(reached + 1, parents + 1)]

    async def bound_of(_parent: Any) -> datetime | None:
        return None

    single = SingleReader(server, DELIVERIES, 1, prefix="projects")  # type: ignore[arg-type]
    reader = SnapshotReader(server, single, 100, next_parents, {}, bound_of)  # type: ignore[arg-type]
    number = 0
    async for page in reader.pages(place, doubts=False):
        if number == dies_after:
            break
        assert isinstance(page.place, SnapshotPlace)
        place, number = page.place, number + 1
    return place


def places(server: Server, parents: int) -> list[SnapshotPlace]:
    """Return the places from which a later run may go on, wherever this one dies."""
    first = SnapshotPlace(fingerprint="here", began_at=START, at=START)
    found = [asyncio.run(read(server, parents, first, n)) for n in range(2 * parents + 3)]
    resumed = [SnapshotPlace.resume_at(each.position(), "here", START) for each in found[1:]]
    return [first, *(each for each in resumed if each is not None)]


@pytest.mark.parametrize("parents", [1, 2, 4])
def test_a_stream_of_which_all_is_refused_is_unavailable_wherever_it_is_read_on(
    parents: int,
) -> None:
    """Also where the run before died after the last refusal."""
    server = Server(dict.fromkeys(range(1, parents + 1), CLOSED))
    first = SnapshotPlace(fingerprint="here", began_at=START, at=START)
    # The run that is not broken off before its error; each page before it is committed.
    for dies_after in range(parents + 1):
        place = asyncio.run(read(server, parents, first, dies_after))
        with pytest.raises(StreamUnavailable):
            asyncio.run(read(server, parents, place))


@pytest.mark.parametrize(
    "refuses",
    [{1: CLOSED}, {1: CLOSED, 2: CLOSED}, {2: BLOCKED, 3: CLOSED}, {1: BLOCKED, 4: BLOCKED}],
    ids=["the first", "the first two", "the middle ones", "both ends"],
)
def test_each_refused_parent_counts_once_wherever_it_is_read_on(
    refuses: Mapping[int, Exception],
) -> None:
    """The run says how many were not looked at, and never takes some for all of them."""
    blocked = sum(each is BLOCKED for each in refuses.values())
    for place in places(Server(refuses), 4):
        ended = asyncio.run(read(Server(refuses), 4, place))
        counts = (ended.ended, ended.parents, ended.refused, ended.skipped)
        assert counts == (True, 4, len(refuses), blocked), place


def test_a_parent_that_is_answered_later_does_not_count_as_refused() -> None:
    """The run before died after its refusal; then the last one is refused, and it alone."""
    first = SnapshotPlace(fingerprint="here", began_at=START, at=START)
    place = asyncio.run(read(Server({1: CLOSED}), 2, first, dies_after=2))
    server = Server({2: CLOSED})
    ended = asyncio.run(read(server, 2, place))
    assert (ended.refused, server.asked) == (1, [1, 2])
