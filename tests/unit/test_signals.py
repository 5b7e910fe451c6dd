"""What a command does when its terminal is closed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from etl.cli.shared import until_stopped


@pytest.fixture
def hangup(request: pytest.FixtureRequest) -> Iterator[signal.Handlers]:
    """The process's own handler of SIGHUP, restored afterwards."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield request.param
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("hangup", [signal.SIG_DFL], ids=["default"], indirect=True)
async def test_a_closed_terminal_asks_the_command_to_stop(hangup: signal.Handlers) -> None:
    """As SIGTERM does, so that the batch in hand is committed."""

    async def work(stop: asyncio.Event) -> bool:
        os.kill(os.getpid(), signal.SIGHUP)
        return await asyncio.wait_for(stop.wait(), 10)

    assert await until_stopped(work)


@pytest.mark.parametrize("hangup", [signal.SIG_IGN], ids=["ignored"], indirect=True)
async def test_under_nohup_a_closed_terminal_changes_nothing(hangup: signal.Handlers) -> None:
    """SIGHUP is ignored when the process starts, and stays ignored."""

    async def work(stop: asyncio.Event) -> bool:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is hangup
        return stop.is_set()

    assert not await until_stopped(work)
