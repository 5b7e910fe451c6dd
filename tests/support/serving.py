"""The real `serve`, as a process or in the test's own, and questions to it over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.books import until
from tests.support.command import Command, Process, Result, finish

_SAMPLE = re.compile(r"^(posthog_etl_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def document(self) -> Any:
        """The JSON in it."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Serving:
    """A service that listens at `url`; `process` where it is one."""

    url: str
    process: Process | None = None

    async def get(self, path: str, **headers: str) -> Answer:
        """Ask, following nothing and keeping no cookie."""
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(self.url + path, headers=headers, allow_redirects=False) as answer,
        ):
            return Answer(answer.status, dict(answer.headers), await answer.text())

    async def post(self, path: str, form: dict[str, str], **headers: str) -> Answer:
        """Send a form, following nothing and keeping no cookie."""
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(
                self.url + path, data=form, headers=headers, allow_redirects=False
            ) as answer,
        ):
            return Answer(answer.status, dict(answer.headers), await answer.text())

    async def login(self, token: str, wanted: str, **headers: str) -> Answer:
        """Send the login form, as a browser does that wants to see a page."""
        return await self.post("/login", {"token": token, "next": wanted}, **headers)

    async def metrics(self) -> dict[str, float]:
        """The figures, each under its name with the values of its labels behind it."""
        text = (await self.get("/metrics")).text
        return {
            " ".join([name, *re.findall(r'"([^"]*)"', labels)]): float(number)
            for name, labels, number in _SAMPLE.findall(text)
        }

    async def ran(self, times: int = 1, schedule: str = "all") -> None:
        """Return once a schedule has been done so often."""

        async def done() -> bool:
            found = await self.metrics()
            return found.get(f"posthog_etl_ticks_total ran {schedule}", 0) >= times

        await until(done, f"{schedule} is done {times} times")

    async def terminated(self) -> Result:
        """Send SIGTERM and return what it leaves."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await finish(self.process)


@asynccontextmanager
async def serving(command: Command, *arguments: str) -> AsyncIterator[Serving]:
    """Run `serve` on a free port, as a process that is gone after the block."""
    async with command.running("serve", "--port", "0", *arguments) as process:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        if not line:
            raise AssertionError((await finish(process)).err)
        yield Serving(line.split()[-1].replace("0.0.0.0", "127.0.0.1"), process)
