"""Takes the picture of the terminal in the README: runs the demo and exports what it printed.

    python docs/picture.py

The demo runs for real, on a terminal of 90 columns, with a database of its own that is removed
afterwards; the directory it ran in is shown as `~`. The picture loads nothing from elsewhere.
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
# The fonts that the template of rich would load from elsewhere, and its comment.
_LEFT_OUT = re.compile(r"@font-face\s*\{\{.*?\}\}\s*|<!--.*?-->\s*", re.DOTALL)
_INDENTATION = re.compile(r"^[ \t]+|[ \t]+$", re.MULTILINE)


def run_on_terminal(command: Sequence[str], directory: Path) -> str:
    """Run `command` in `directory`; return what it printed. Raises CalledProcessError."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    environment.pop("NO_COLOR", None)
    # As in an activated environment: what the demo says to type then begins with the bare name.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=theirs, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        printed = bytearray()
        # Once nobody holds the other end, Linux answers with an error, macOS with nothing.
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
    # Whatever monospaced font there is, but none that draws SQL's ->> as one arrow.
    form = _LEFT_OUT.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code, ", "")
    svg = console.export_svg(title=command, code_format=form, unique_id="terminal")
    return _INDENTATION.sub("", svg)


def main() -> None:
    """Take the picture anew."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o711)  # run by root, the embedded Postgres belongs to somebody else
        program = str(Path(sys.executable).with_name("posthog-etl"))
        printed = run_on_terminal([program, "demo"], directory)
        shown = printed.replace(str(directory.resolve()), "~").replace(name, "~")
        PICTURE.write_text(svg_of("posthog-etl demo", shown), encoding="utf-8")


if __name__ == "__main__":
    main()
