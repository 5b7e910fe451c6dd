"""Tables and lines: plain in a pipe, in colours on a terminal.

rich is imported only for a terminal: importing it is a tenth of the CPU time of a quiet sync.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

GAP = "  "
_NUMBER = re.compile(r"[\d,.]+")
# Bell, backspace, vertical tab, form feed and carriage return, which rich leaves out, too.
_CONTROL = dict.fromkeys((7, 8, 11, 12, 13))


class Styled(NamedTuple):
    """A cell, and the style of rich that a terminal shows it in."""

    text: str
    style: str


Cell = str | Styled


def is_piped() -> bool:
    """Tell whether results go to a file or another program."""
    return not (sys.stdout.isatty() or "COLUMNS" in os.environ)


def say(text: str, *, style: str = "", folded: bool = True) -> None:
    """Print a line; on a narrower terminal it breaks between words.

    style: of rich. folded: False for a line with a command in it, so that it can be copied whole.
    """
    if is_piped():
        sys.stdout.write(text.translate(_CONTROL) + "\n")
        sys.stdout.flush()
        return
    from etl.console.terminal import print_line

    print_line(text, style, folded=folded)


class Table:
    """A table whose columns are as wide as their widest cell. Numbers are right-aligned."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._rows: list[list[Styled]] = []

    def add_row(self, *cells: Cell) -> None:
        """Add a row."""
        self._rows.append([Styled(cell, "") if isinstance(cell, str) else cell for cell in cells])

    def print(self) -> None:
        """Print the table."""
        columns = range(len(self._names))
        right = [_are_numbers([row[at].text for row in self._rows]) for at in columns]
        if not is_piped():
            from etl.console.terminal import print_table

            print_table(self._names, self._rows, right)
            return
        lines = [self._names, *([cell.text for cell in row] for row in self._rows)]
        widths = [max(_width(line[at]) for line in lines) for at in columns]
        for line in lines:
            pads = [" " * (widths[at] - _width(line[at])) for at in columns]
            cells = [pads[at] + line[at] if right[at] else line[at] + pads[at] for at in columns]
            say(GAP.join(cells).rstrip())


def _are_numbers(cells: Sequence[str]) -> bool:
    """Tell whether a column holds only numbers."""
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _width(text: str) -> int:
    """Return how many characters wide the text is; some letters are two wide."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
