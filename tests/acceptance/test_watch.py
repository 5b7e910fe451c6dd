"""`status --watch`: the same table again and again, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios

from tests.support.command import Command, finish

ENTER, LEAVE, HOME = "\x1b[?1049h", "\x1b[?1049l", "\x1b[H"


async def test_a_terminal_is_shown_the_table_in_place(command: Command) -> None:
    """On a screen of its own; Ctrl-C ends with 0 and leaves the last table on the old one."""
    assert (await command.run("sync")).code == 0
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "etl", "status", "--watch", "--interval", "0.1"),
        env={**command.environment, "TERM": "xterm-256color", "NO_COLOR": "1"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        # So that Ctrl-C reaches it, as it does in a shell.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its)

    def read() -> str:
        shown, interrupted = b"", False
        with contextlib.suppress(OSError):  # the end of a terminal, on Linux
            while part := os.read(ours, 65536):
                shown += part
                if shown.count(HOME.encode()) >= 3 and not interrupted:
                    interrupted = bool(os.write(ours, b"\x03"))
        return shown.decode()

    async with asyncio.timeout(60):
        shown = await asyncio.to_thread(read)
        assert await process.wait() == 0
    os.close(ours)
    inside, after = shown[shown.index(ENTER) :].split(LEAVE)
    frames = re.findall(r"(?<=\x1b\[H\x1b\[J).*?(?=\x1b\[\?2026l)", inside, re.DOTALL)
    assert len(frames) >= 3
    for frame in (*frames, after):
        assert re.search(r"session_recordings +succeeded", frame), frame
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


async def test_a_pipe_gets_one_table_below_the_other(command: Command) -> None:
    """Each with its time, and no escape codes."""
    assert (await command.run("sync")).code == 0
    async with command.running("status", "--watch", "--interval", "0.1") as process:
        assert process.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(60):
            while sum("succeeded" in line for line in lines) < 2:
                lines.append((await process.stdout.readline()).decode())
        process.terminate()
        rest = await finish(process)
    assert (rest.code, rest.err) == (0, "")
    assert "\x1b" not in "".join(lines)
    assert (
        sum(bool(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\n", line)) for line in lines) == 2
    )


async def test_watching_and_json_exclude_each_other(command: Command) -> None:
    """A program asks as often as it likes."""
    result = await command.run("status", "--watch", "--json")
    assert result.code == 2
    assert "leave out one of them" in result.err
