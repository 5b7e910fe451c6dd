"""A person at a terminal: waits until a text appears, and types."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import sys
import termios
from collections.abc import Sequence

from tests.support.books import until
from tests.support.command import Command, Result


class Hidden(str):
    """An answer that the terminal does not show."""


DEADLINE_S = 30.0


async def type_into(command: Command, *arguments: str, typed: Sequence[tuple[str, str]]) -> Result:
    """Run the command on a terminal; return what it showed, as `out`.

    typed: pairs of what must have appeared since the last answer, and what is then typed.
    """
    ours, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "etl", *arguments),
        env={**command.environment, "TERM": "dumb", "PAGER": "cat"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    shown = b""
    left = list(typed)
    unread = b""
    try:
        async with asyncio.timeout(DEADLINE_S):
            # A terminal whose other end has gone is an error on Linux, an end elsewhere.
            with contextlib.suppress(OSError):
                while part := await asyncio.to_thread(os.read, ours, 65536):
                    shown, unread = shown + part, unread + part
                    if left and left[0][0].encode() in unread:
                        answer = left.pop(0)[1]
                        if isinstance(answer, Hidden):
                            # What is typed before echo is off is thrown away.
                            await until(lambda: _hides(ours), "echo is off")
                        os.write(ours, answer.encode() + b"\n")
                        unread = b""
            code = await process.wait()
    except TimeoutError:
        raise AssertionError(f"waits, and shows: {shown.decode()}") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(ours)
    assert not left, f"{left[0][0]!r} did not appear: {shown.decode()}"
    return Result(code, shown.decode().replace("\r", ""), "")


async def _hides(terminal: int) -> bool:
    return not termios.tcgetattr(terminal)[3] & termios.ECHO


async def piped(command: Command, text: str, *arguments: str) -> Result:
    """Run the command with `text` as its standard input."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "etl", *arguments),
        env=command.environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate(text.encode())
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())
