"""P5 at the edges of windows and pages: no session is cut, lost or loaded by the wrong window."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.pipeline import (
    LIST,
    Pipeline,
    midnight,
    now_of,
    questions,
    truth_starts,
)
from tests.support.sql import select
from tests.support.truth import differences_from_truth, stored

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


def session(name: str, start: datetime, hours: float = 0.01, **more: Any) -> dict[str, Any]:
    """The operation that adds a session."""
    start_time = start.isoformat()
    return {
        "op": "start_session",
        "id": name,
        "start_time": start_time,
        "duration_s": hours * 3600,
        **more,
    }


async def wrong_recordings(dsn: str, sandbox: RunningSandbox) -> list[str]:
    """Where a stored recording is not as it truly is; those that are not stored do not count."""
    return [
        each
        for each in await differences_from_truth(dsn, sandbox.control.truth())
        if each.startswith("session_recordings") and not each.endswith(": missing")
    ]


def sessions_at_edges(since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Sessions across, at and beside both edges of a window, as long as sessions get."""
    made = []
    for name, edge in (("since", since), ("until", until)):
        made += [
            session(f"{name}: across", edge - 2 * HOUR, 4),
            session(f"{name}: across, a day long", edge - 23 * HOUR, 24),
            session(f"{name}: across by a tick", edge - TICK, 3),
            session(f"{name}: at the edge", edge, 5),
            session(f"{name}: at the edge, a day long", edge, 24),
            session(f"{name}: ends at the edge", edge - HOUR, 1),
            session(f"{name}: in the margin below", edge - 24.5 * HOUR, 24),
            session(f"{name}: in the margin above", edge + 24 * HOUR, 24),
            {**session(f"{name}: a late piece", edge + HOUR), "op": "start_session"},
        ]
        # A piece that begins exactly where the dates that are asked for end.
        for margin in (timedelta(0), 25 * HOUR):
            piece = edge + margin
            made += [
                session(f"{name}: a piece at {margin}", piece - 3 * HOUR, 0.5),
                {
                    "op": "add_piece",
                    "id": f"{name}: a piece at {margin}",
                    "start_time": piece.isoformat(),
                    "duration_s": 60,
                    "click_count": 7,
                },
            ]
    return made


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_sessions_at_the_edges_of_windows_are_whole_whatever_is_read_when(
    start_sandbox: StartSandbox, dsn: str, order: str
) -> None:
    """Each window by itself, then the one before or after it, then both again."""
    sandbox = await start_sandbox(recordings=40, days=6.0)
    low, middle, high = (midnight(sandbox, days) for days in (4, 3, 2))
    sandbox.control.change(*sessions_at_edges(low, middle), session("after", high, 6))
    pipeline = Pipeline(sandbox, dsn, page_size_records=7)
    windows = [(middle, high), (low, middle)]
    done: list[tuple[datetime, datetime]] = []
    for since, until in windows if order == "newest" else windows[::-1]:
        await pipeline.backfill(since, until)
        done.append((since, until))
        owned = {
            each
            for each, at in truth_starts(sandbox).items()
            if any(since <= at < until for since, until in done)
        }
        assert (await stored(dsn, "session_recordings")).keys() == owned
        assert await wrong_recordings(dsn, sandbox) == []
    for since, until in windows:
        reports = await pipeline.backfill(since, until, again=True)
        assert [r.rows_inserted + r.rows_updated for r in reports] == [0]


async def test_the_lookback_of_a_sync_cuts_no_session(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It begins inside sessions of all kinds; none of them changes."""
    sandbox = await start_sandbox(recordings=20, days=3.0)
    now = now_of(sandbox)
    for hours in (1, 4, 26):
        edge = now - hours * HOUR
        sandbox.control.change(
            session(f"across {hours}", edge - HOUR / 2, 1, arrives_s=0),
            session(f"a day, {hours}", edge - 23.9 * HOUR, 24, arrives_s=0),
            session(f"at the edge {hours}", edge, 0.5),
            session(f"in the margin {hours}", edge - 25 * HOUR, 0.5),
        )
    await Pipeline(sandbox, dsn).sync()
    assert await differences_from_truth(dsn, sandbox.control.truth()) == []
    for lookback in ("1h", "4h", "26h"):
        report = await Pipeline(sandbox, dsn, lookback=lookback).sync()
        assert (report.ending.exit_code, report.rows_updated) == (0, 0)
    assert await differences_from_truth(dsn, sandbox.control.truth()) == []
    # The margin made them whole: none was asked for by its id.
    assert questions(sandbox) == []


async def test_a_session_whose_start_a_late_piece_moves_out_of_what_is_read_loads_whole(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The list shows it below the window, where it may be cut: so it is asked for by its id."""
    sandbox = await start_sandbox(recordings=30, days=1.0)
    edge = now_of(sandbox) - 4 * HOUR
    sandbox.control.change(session("moves", edge + HOUR / 12))
    pipeline = Pipeline(sandbox, dsn, lookback="4h")
    await pipeline.sync()
    piece = {"op": "add_piece", "id": "moves", "duration_s": 30}
    sandbox.control.change({**piece, "start_time": (edge - HOUR / 12).isoformat()})
    report = await pipeline.sync()
    assert (report.ending.exit_code, report.rows_updated) == (0, 1), report.ending
    assert await wrong_recordings(dsn, sandbox) == []


def ties(at: datetime, names: Sequence[str]) -> list[dict[str, Any]]:
    """Sessions that start at one instant."""
    return [session(name, at, 0.01) for name in names]


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_five_hundred_recordings_with_one_start_are_all_loaded_and_missed(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Across pages of 90, at the edge of a window; and of those that vanish none is overlooked."""
    sandbox = await start_sandbox(recordings=30, days=5.0, flavour=flavour)
    edge = midnight(sandbox, 2)
    names = [f"tie {number:03}" for number in range(500)]
    sandbox.control.change(
        *ties(edge, names),
        *ties(edge - TICK, [f"below {number:03}" for number in range(100)]),
    )
    pipeline = Pipeline(sandbox, dsn, page_size_records=90, deletion_guard_share=0.5)
    await pipeline.backfill(edge, midnight(sandbox, 0))
    held = (await stored(dsn, "session_recordings")).keys()
    assert held >= set(names)
    assert [each for each in held if each.startswith("below")] == []
    gone = [*names[:3], *names[88:92], *names[170:260], *names[-2:]]
    sandbox.control.change(*({"op": "delete_recording", "id": each} for each in gone))
    (report, *_) = await pipeline.backfill(midnight(sandbox, 3), midnight(sandbox, 0), "30d")
    assert report.ending.exit_code == 0
    reports = await pipeline.backfill(midnight(sandbox, 3), midnight(sandbox, 0), again=True)
    assert {report.ending.exit_code for report in reports} == {0}, [r.ending for r in reports]
    marked = await select(
        dsn, "SELECT id FROM posthog.session_recordings WHERE _deleted_at IS NOT NULL"
    )
    assert {row["id"] for row in marked} == set(gone)
    assert await wrong_recordings(dsn, sandbox) == []
    assert len((await stored(dsn, "session_recordings")).keys() & set(names)) == 500 - len(gone)


async def test_a_list_in_another_order_is_read_to_its_end(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The oldest come first, from before the window: that is no reason to stop."""
    sandbox = await start_sandbox(recordings=120, days=6.0, default_order="oldest")
    pipeline = Pipeline(sandbox, dsn)
    reports = await pipeline.backfill(midnight(sandbox, 4), midnight(sandbox, 1))
    assert {report.ending.exit_code for report in reports} == {0}
    wanted = {
        each
        for each, at in truth_starts(sandbox).items()
        if midnight(sandbox, 4) <= at < midnight(sandbox, 1)
    }
    assert (await stored(dsn, "session_recordings")).keys() == wanted
    assert await wrong_recordings(dsn, sandbox) == []


async def test_a_record_with_a_wrong_date_at_the_end_of_a_page_ends_nothing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It looks as if the list had come down to before the window."""
    sandbox = await start_sandbox(recordings=100, days=5.0)
    since = midnight(sandbox, 4)
    wrong = {"record": 19, "set": {"start_time": (since - HOUR).isoformat()}}
    sandbox.control.add_faults({"match": LIST, "at": 1, "fault": {"mutate": wrong}})
    await Pipeline(sandbox, dsn).backfill(since, midnight(sandbox, 0))
    wanted = {
        each for each, at in truth_starts(sandbox).items() if since <= at < midnight(sandbox, 0)
    }
    missing = wanted - (await stored(dsn, "session_recordings")).keys()
    assert len(missing) <= 1
