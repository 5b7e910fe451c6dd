"""A terminal of 80 columns that a command believes in, and what is on its screen."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.command import Command

COLUMNS, ROWS = 80, 40
# Escape codes, line ends, or a character.
_PIECE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\r|\n|[^\x1b]", re.DOTALL)
_BEGUN = re.compile(r"\x1b(\[[?\d;]*)?$")


class Terminal:
    """What a command has written to its terminal.

    screen: the lines, the oldest first. widest: the length of the longest line there ever was.
    """

    def __init__(self) -> None:
        # It is written by another thread, a whole frame at a time.
        self._lock = threading.Lock()
        self.screen: list[str] = [""]
        self.widest = 0
        self._row = self._column = 0

    @property
    def text(self) -> str:
        """All that can be read on it, as lines."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self.screen)

    def write(self, text: str) -> None:
        """Show the text as a terminal does, but without breaking lines."""
        with self._lock:
            self._write(text)

    def _write(self, text: str) -> None:
        for piece in _PIECE.finditer(text):
            numbers, code = piece[1], piece[2]
            if code == "A":
                self._row = max(0, self._row - int(numbers or 1))
            elif code == "K":
                self.screen[self._row] = ""
            elif code is None and piece[0] == "\r":
                self._column = 0
            elif code is None and piece[0] == "\n":
                self._row += 1
                self._column = 0
                if self._row == len(self.screen):
                    self.screen.append("")
            elif code is None:
                line = self.screen[self._row].ljust(self._column)
                self.screen[self._row] = line[: self._column] + piece[0] + line[self._column + 1 :]
                self._column += 1
                self.widest = max(self.widest, self._column)


@asynccontextmanager
async def on_terminal(command: Command, *arguments: str) -> AsyncIterator[tuple[Process, Terminal]]:
    """Run the command on a terminal; it is gone after the block."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "etl", *arguments),
        env={**command.environment, "TERM": "xterm-256color", "NO_COLOR": "1"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    terminal = Terminal()

    def read() -> None:
        # A character or an escape code may be cut in two.
        decoder, rest = codecs.getincrementaldecoder("utf-8")(), ""
        with contextlib.suppress(OSError):  # the end of a terminal, on Linux
            while part := os.read(ours, 65536):
                text = rest + decoder.decode(part)
                whole = _BEGUN.sub("", text)
                rest = text[len(whole) :]
                terminal.write(whole)

    reading = asyncio.create_task(asyncio.to_thread(read))
    try:
        yield process, terminal
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading
        os.close(ours)
