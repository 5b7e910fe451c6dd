"""A real headless Chromium, driven through chromedriver over plain HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.books import until

PROGRAMS = ("chromium", "chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
)
TAB = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
_STARTED = re.compile(rb"started successfully on port (\d+)")
_START_TIMEOUT_S = 30.0


def missing() -> list[str]:
    """Return the programs that are not there."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@dataclass
class Browser:
    """One window. Every method raises AssertionError when the browser refuses."""

    http: aiohttp.ClientSession
    session: str

    async def command(self, path: str, **body: Any) -> Any:
        """Send a WebDriver command and return its value."""
        async with self.http.post(f"{self.session}/{path}", json=body) as answer:
            value = (await answer.json())["value"]
        assert answer.ok, value
        return value

    async def cdp(self, name: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return await self.command("goog/cdp/execute", cmd=name, params=parameters)

    async def go(self, url: str) -> None:
        """Load a page."""
        await self.command("url", url=url)

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, of a promise what it promises.

        Works where the page's own JavaScript is off.
        """
        found = await self.cdp(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def press(self, key: dict[str, Any], modifiers: int = 0) -> None:
        """Press a key, as a keyboard does."""
        for kind in ("keyDown", "keyUp"):
            await self.cdp("Input.dispatchKeyEvent", type=kind, modifiers=modifiers, **key)

    async def submit(self, form: str = "main form", **fields: str) -> None:
        """Fill the fields of a form, send it by its button, and wait for the page that comes."""
        for name, text in fields.items():
            await self._element(f"{form} [name={name}]", "value", text=text)
        await self.evaluate("document.documentElement.dataset.left = 1")
        await self._element(f"{form} button", "click")

        async def came() -> bool:
            with contextlib.suppress(AssertionError):  # between two pages
                return bool(
                    await self.evaluate(
                        "document.readyState === 'complete' && "
                        "!('left' in document.documentElement.dataset)"
                    )
                )
            return False

        await until(came, "the next page comes", within_s=20)

    async def _element(self, selector: str, action: str, **body: Any) -> None:
        found = await self.command("element", using="css selector", value=selector)
        (element,) = found.values()
        await self.command(f"element/{element}/{action}", **body)

    async def scripts(self, *, on: bool) -> None:
        """Switch JavaScript on or off, from the next page on."""
        await self.cdp("Emulation.setScriptExecutionDisabled", value=not on)

    async def resize(self, width: int, height: int = 900) -> None:
        """Give the window a size, in CSS pixels."""
        await self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    async def prefer(self, **features: str) -> None:
        """Set what the reader prefers: color_scheme, reduced_motion."""
        wanted = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        await self.cdp("Emulation.setEmulatedMedia", features=wanted)

    async def complaints(self) -> list[str]:
        """Return what the console has said since this was last asked: errors, violations."""
        entries = await self.command("se/log", type="browser")
        return [f"{entry['level']}: {entry['message']}" for entry in entries]

    async def screenshot(self, *, whole: bool = True) -> bytes:
        """Return a picture of the whole page, or of what the window shows of it, PNG."""
        taken = await self.cdp("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(taken["data"])


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start chromedriver and Chromium with an empty profile; both are gone after the block."""
    with tempfile.TemporaryDirectory(prefix="etl-", ignore_cleanup_errors=True) as home:
        driver = await asyncio.create_subprocess_exec(
            "chromedriver",
            "--port=0",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "HOME": home, "TMPDIR": home},
        )
        draining: asyncio.Task[bytes] | None = None
        try:
            assert driver.stdout is not None
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not (started := _STARTED.search(await driver.stdout.readline())):
                    assert driver.returncode is None, "chromedriver does not start"
            draining = asyncio.create_task(driver.stdout.read())
            port = int(started[1])
            async with aiohttp.ClientSession() as http, _session(http, port, home) as browser:
                yield browser
        finally:
            with contextlib.suppress(ProcessLookupError):
                driver.terminate()
            await driver.wait()
            if draining is not None:
                await draining


@asynccontextmanager
async def _session(http: aiohttp.ClientSession, port: int, home: str) -> AsyncIterator[Browser]:
    options = {
        "binary": shutil.which("chromium"),
        "args": [*FLAGS, f"--user-data-dir={home}/profile"],
    }
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    body = {"capabilities": {"alwaysMatch": wanted}}
    async with http.post(f"http://127.0.0.1:{port}/session", json=body) as answer:
        value = (await answer.json())["value"]
    assert answer.ok, value
    browser = Browser(http, f"http://127.0.0.1:{port}/session/{value['sessionId']}")
    try:
        yield browser
    finally:
        async with http.delete(browser.session) as answer:
            await answer.read()
