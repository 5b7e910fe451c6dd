"""Make the picture of the terminal in the README: run the demo and export its output.

    python docs/picture.py

The demo runs on a terminal of 90 columns with its own database, which is removed afterwards. The
directory it ran in is shown as `~`. The picture loads nothing from other hosts.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fcntl import ioctl
from io import StringIO
from pathlib import Path
from termios import TIOCSWINSZ

from rich.console import CONSOLE_SVG_FORMAT, Console  # type: ignore[attr-defined]
from rich.text import Text

PICTURE = Path(__file__).parent / "terminal.svg"
COLUMNS = 90
# Rich's template loads fonts from other hosts; its comment is not needed.
_LEFT_OUT = re.compile(r"@font-face\s*\{\{.*?\}\}\s*|<!--.*?-->\s*", re.DOTALL)
_INDENTATION = re.compile(r"^[ \t]+|[ \t]+$", re.MULTILINE)


def run_on_terminal(command: Sequence[str], directory: Path) -> str:
    """Run `command` in `directory`; return its output. Raises CalledProcessError."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    environment.pop("NO_COLOR", None)
    # As in an activated environment, so that the demo names commands without a path.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=theirs, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        printed = bytearray()
        # When the other end is closed, Linux returns an error, macOS nothing.
        with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:
            while chunk := terminal.read(65_536):
                printed += chunk
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, bytes(printed))
    return printed.decode().replace("\r\n", "\n")


def svg_of(command: str, printed: str) -> str:
    """Return the picture of a terminal on which `command` has printed `printed`."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(f"[bold green]$[/] [bold]{command}[/]")
    console.print(Text.from_ansi(printed.rstrip() + "\n"))
    # Any monospaced font except this one, which draws SQL's ->> as one arrow.
    form = _LEFT_OUT.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code, ", "")
    svg = console.export_svg(title=command, code_format=form, unique_id="terminal")
    return _INDENTATION.sub("", svg)


def main() -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o711)  # if root runs this, the embedded Postgres runs as another user
        program = str(Path(sys.executable).with_name("posthog-etl"))
        printed = run_on_terminal([program, "demo"], directory)
        shown = printed.replace(str(directory.resolve()), "~").replace(name, "~")
        PICTURE.write_text(svg_of("posthog-etl demo", shown), encoding="utf-8")


if __name__ == "__main__":
    main()
