"""A table as wide as its content. On a narrower terminal it is folded."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

UNBOUNDED = 10_000
# If a table is too wide, the columns that do not fit are printed below each row. At least this many
# columns must fit.
_FEWEST_COLUMNS = 2
# In a table with at most this many columns the last one is folded instead.
_FOLDED_COLUMNS = 4
_NARROWEST_FOLD = 20
_GAP = "  "
_NUMBER = re.compile(r"[\d,.]+")


def console() -> Console:
    """Return the console for results: as wide as the terminal, without a limit in a pipe."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=UNBOUNDED)


class Table:
    """A table whose columns are as wide as their widest cell. Numbers are right-aligned."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str) -> None:
        """Add a row of cells in Rich markup."""
        self._rows.append([Text.from_markup(cell) for cell in cells])

    def print(self) -> None:
        """Print the table. Columns that do not fit are printed below each row, with their names."""
        out = console()
        widths = [
            max(cell_len(name), *(row[at].cell_len for row in self._rows), 0)
            for at, name in enumerate(self._names)
        ]
        shown = self._fitting(widths, out.width)
        if len(self._names) <= _FOLDED_COLUMNS and shown < len(self._names):
            left = out.width - sum(width + len(_GAP) for width in widths[:-1])
            if left >= _NARROWEST_FOLD:
                widths[-1], shown = left, len(self._names)
        if shown:
            header = [Text(name, style="bold") for name in self._names[:shown]]
            self._print_row(out, header, widths)
        for row in self._rows:
            self._print_row(out, row[:shown], widths)
            if rest := self._named(row, shown):
                for line in _wrapped(rest, out, out.width - len(_GAP) if shown else out.width):
                    say(out, Text(_GAP if shown else "") + line)
                if not shown:
                    out.print()

    def _fitting(self, widths: Sequence[int], limit: int) -> int:
        """Return how many of the first columns fit into `limit` characters."""
        taken, shown = -len(_GAP), 0
        for width in widths:
            taken += len(_GAP) + width
            if taken > limit:
                break
            shown += 1
        return shown if shown >= min(_FEWEST_COLUMNS, len(self._names)) else 0

    def _named(self, row: Sequence[Text], shown: int) -> list[Text]:
        return [
            Text.assemble((name, "bold"), " ", cell)
            for name, cell in zip(self._names[shown:], row[shown:], strict=True)
            if cell
        ]

    def _print_row(self, out: Console, cells: Sequence[Text], widths: Sequence[int]) -> None:
        folded = [
            cell.wrap(out, width, overflow="fold") if cell.cell_len > width else [cell]
            for cell, width in zip(cells, widths, strict=False)
        ]
        for at in range(max(map(len, folded), default=0)):
            line = Text()
            for column, parts in enumerate(folded):
                part = parts[at].copy() if at < len(parts) else Text()
                pad = " " * (widths[column] - part.cell_len)
                right = self._is_number(column)
                line += Text(pad) + part if right else part + Text(pad)
                line += Text(_GAP)
            line.rstrip()
            say(out, line)

    def _is_number(self, column: int) -> bool:
        cells = [row[column].plain for row in self._rows if row[column]]
        return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _wrapped(parts: Sequence[Text], out: Console, width: int) -> list[Text]:
    """Return the parts in lines of `width`; a part that is longer than a line is folded."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(_GAP) + part.cell_len <= width:
            lines[-1] = lines[-1] + _GAP + part
        else:
            lines += part.wrap(out, width, overflow="fold")
    for line in lines:
        line.rstrip()
    return lines


def say(out: Console, line: Text) -> None:
    """Print a line; on a narrower terminal it breaks between words."""
    out.print(line, highlight=False, overflow="fold")
