"""Tables and lines on a terminal: in colours. On a narrower terminal they are folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from etl.console.table import GAP, Styled

# If a table is too wide, the columns that do not fit are printed below each row. At least this many
# columns must fit.
_FEWEST_COLUMNS = 2
# In a table with at most this many columns the last one is folded instead.
_FOLDED_COLUMNS = 4
_NARROWEST_FOLD = 20


def print_line(text: str, style: str, *, folded: bool) -> None:
    """Print a line. folded: break it between words; otherwise the terminal breaks it anywhere."""
    # A soft wrap with "fold" would cut the line off at the width.
    overflow: Literal["fold", "ignore"] = "fold" if folded else "ignore"
    Console().print(
        Text(text, style=style), highlight=False, overflow=overflow, soft_wrap=not folded
    )


def print_table(
    names: Sequence[str], rows: Sequence[Sequence[Styled]], right: Sequence[bool]
) -> None:
    """Print a table. Columns that do not fit are printed below each row, with their names.

    right: which columns are right-aligned.
    """
    out = Console()
    cells = [[Text(cell.text, style=cell.style) for cell in row] for row in rows]
    widths = [
        max(cell_len(name), *(row[at].cell_len for row in cells), 0)
        for at, name in enumerate(names)
    ]
    shown = _fitting(widths, out.width)
    if len(names) <= _FOLDED_COLUMNS and shown < len(names):
        left = out.width - sum(width + len(GAP) for width in widths[:-1])
        if left >= _NARROWEST_FOLD:
            widths[-1], shown = left, len(names)
    if shown:
        header = [Text(name, style="bold") for name in names[:shown]]
        _print_row(out, header, widths, right)
    for row in cells:
        _print_row(out, row[:shown], widths, right)
        if rest := _named(names[shown:], row[shown:]):
            for line in _wrapped(rest, out, out.width - len(GAP) if shown else out.width):
                _say(out, Text(GAP if shown else "") + line)
            if not shown:
                out.print()


def _fitting(widths: Sequence[int], limit: int) -> int:
    """Return how many of the first columns fit into `limit` characters."""
    taken, shown = -len(GAP), 0
    for width in widths:
        taken += len(GAP) + width
        if taken > limit:
            break
        shown += 1
    return shown if shown >= min(_FEWEST_COLUMNS, len(widths)) else 0


def _named(names: Sequence[str], row: Sequence[Text]) -> list[Text]:
    return [
        Text.assemble((name, "bold"), " ", cell)
        for name, cell in zip(names, row, strict=True)
        if cell
    ]


def _print_row(
    out: Console, cells: Sequence[Text], widths: Sequence[int], right: Sequence[bool]
) -> None:
    folded = [
        cell.wrap(out, width, overflow="fold") if cell.cell_len > width else [cell]
        for cell, width in zip(cells, widths, strict=False)
    ]
    for at in range(max(map(len, folded), default=0)):
        line = Text()
        for column, parts in enumerate(folded):
            part = parts[at].copy() if at < len(parts) else Text()
            pad = " " * (widths[column] - part.cell_len)
            line += Text(pad) + part if right[column] else part + Text(pad)
            line += Text(GAP)
        line.rstrip()
        _say(out, line)


def _wrapped(parts: Sequence[Text], out: Console, width: int) -> list[Text]:
    """Return the parts in lines of `width`; a part that is longer than a line is folded."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(GAP) + part.cell_len <= width:
            lines[-1] = lines[-1] + GAP + part
        else:
            lines += part.wrap(out, width, overflow="fold")
    for line in lines:
        line.rstrip()
    return lines


def _say(out: Console, line: Text) -> None:
    out.print(line, highlight=False, overflow="fold")
