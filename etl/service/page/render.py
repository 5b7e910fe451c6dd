"""Renders the page as HTML. All text that does not come from a template is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from etl import __version__
from etl.core.statuses import DIED, RUNNING, work_of
from etl.logs import Redactor
from etl.service.page import words
from etl.service.page.calendar import SAID, Month, counts_of
from etl.service.page.filters import LENGTHS
from etl.service.page.look import RunPage
from etl.service.page.overview import SHOWN_HOLES, Bar, Overview
from etl.service.page.plots import HEIGHT, WIDTH
from etl.service.page.rejects import RejectsPage
from etl.service.page.runs import RunsPage
from etl.service.page.stream import SHOWN_HOLES as SHOWN_STREAM_HOLES
from etl.service.page.stream import StreamPage

# What is served from `static`: its name and its content type.
STATIC = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
# Time between reloads by the browser, in milliseconds: while a run is active, and otherwise.
_SOON_MS, _LATER_MS = 2_000, 5_000


class Renderer:
    """Renders pages, or only the part that is reloaded. Known secrets are removed from all text.

    guarded: whether pages can only be seen with a token, so that one can log out.
    """

    def __init__(self, redactor: Redactor, *, guarded: bool = False) -> None:
        self._guarded = guarded
        self._environment = Environment(
            loader=PackageLoader("etl.service.page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda value: redactor.text(value) if type(value) is str else value,
        )
        self._environment.filters |= {
            name: getattr(words, name)
            for name in ("span", "instant", "iso", "number", "count", "rate", "size", "plural")
        }
        self._environment.filters |= {
            "clock": words.clock,
            "second": words.second,
            "minutes": words.minutes,
            "bar_said": bar_said,
            "days": days_said,
            "year": year_said,
            "work": work_of,
            "prose": lambda text, *rejects: prose(redactor.text(text), *rejects),
            "part": lambda text: quote(text, safe=""),
        }
        self._environment.globals |= {"frame": (WIDTH, HEIGHT), "days_are": SAID}

    def overview(self, overview: Overview, *, live: bool = False) -> str:
        """Return the first page."""
        return self._render(
            "overview.html",
            live,
            root="",
            live_at="live",
            at=overview.at,
            every_ms=_SOON_MS if overview.moving else _LATER_MS,
            overview=overview,
            shown_holes=SHOWN_HOLES,
        )

    def run(self, page: RunPage, *, live: bool = False) -> str:
        """Return the page of a run."""
        running = page.state == RUNNING
        return self._render(
            "run.html",
            live,
            root="../",
            live_at=f"live/runs/{page.run['id']}",
            at=page.run["now"],
            every_ms=_SOON_MS if running else _LATER_MS,
            page=page,
            run=page.run,
            reason=page.run["reason"] if page.run["status"] != RUNNING or running else DIED,
        )

    def stream(self, page: StreamPage, *, live: bool = False) -> str:
        """Return the page of a stream."""
        line = page.line
        return self._render(
            "stream.html",
            live,
            root="../../",
            live_at=f"live/streams/{line.project_id}/{quote(line.stream, safe='')}"
            f"?over={page.length}",
            at=page.at,
            every_ms=_SOON_MS if line.state == RUNNING else _LATER_MS,
            page=page,
            line=line,
            lengths=tuple(LENGTHS),
            shown_holes=SHOWN_STREAM_HOLES,
        )

    def runs(self, page: RunsPage, *, live: bool = False) -> str:
        """Return a part of the list of runs. Only the newest part changes by itself."""
        return self._render(
            "runs.html",
            live,
            root="",
            live_at=page.asked.address("live/runs") if page.asked.turn is None else None,
            at=page.at,
            every_ms=_SOON_MS if page.moving else _LATER_MS,
            page=page,
        )

    def rejects(self, page: RejectsPage) -> str:
        """Return a part of the list of rejects. A reader reads them, so nothing changes."""
        return self._render(
            "rejects.html", False, root="", live_at=None, at=page.at, every_ms=_LATER_MS, page=page
        )

    def error_page(
        self, title: str, said: str, *, root: str = "", live: bool = False, again: str = ""
    ) -> str:
        """Return a page that says what is wrong. again: the page that shows it without filters."""
        return self._render(
            "error.html",
            live,
            root=root,
            live_at=None,
            at=None,
            every_ms=_LATER_MS,
            title=title,
            said=said,
            again=again,
        )

    def login(self, root: str, wanted: str, said: str | None) -> str:
        """Return the page with the login form."""
        return self._render(
            "login.html",
            False,
            root=root,
            live_at=None,
            at=None,
            every_ms=_LATER_MS,
            wanted=wanted,
            said=said,
        )

    def _render(self, name: str, live: bool, **values: Any) -> str:
        base = "live.html" if live else "base.html"
        template = self._environment.get_template(name)
        return template.render(base=base, guarded=self._guarded, version=__version__, **values)


def static(name: str) -> bytes:
    """Return a file that the page loads; `name` is one of STATIC."""
    return (files("etl.service.page") / "static" / name).read_bytes()


_REJECTS = "posthog-etl rejects list"


def prose(text: str, rejects: str | None = None) -> Markup:
    """Return `text`, escaped; text between backticks becomes code.

    rejects: the address of a list of rejected records, which takes the place of the command.
    """

    def shown(code: str) -> Markup:
        if rejects is not None and code == _REJECTS:
            return Markup('<a href="{}">the rejected records</a>').format(rejects)
        return Markup("<code>{}</code>").format(code)

    parts = re.split(r"`([^`]+)`", text)
    return Markup("").join(shown(part) if at % 2 else part for at, part in enumerate(parts))


def bar_said(bar: Bar, now: datetime) -> str:
    """Return what a bar shows, in words."""
    said = f"{bar.state}, {words.clock(bar.started_at, now)}, {words.span(bar.seconds)}"
    said += f", {bar.records_read:,} read"
    if bar.rejected:
        said += f", {bar.rejected:,} rejected"
    return said if bar.command == "sync" else f"{bar.command}: {said}"


def days_said(month: Month) -> str:
    """Return what a month of the calendar shows, in words; names each day that is not complete."""
    parts = []
    for state, count in month.counts.items():
        if state == "complete" or count == len(month.days):
            parts.append(f"{words.plural(count, 'day')} {state}")
        else:
            parts.append(f"{state}: {_ranges([d.day.day for d in month.days if d.state == state])}")
    return f"{month.first:%B %Y}: {'; '.join(parts)}"


def year_said(months: Sequence[Month]) -> str:
    """Return the state of the days of several months, in words; what is not complete is named."""
    return ", ".join(
        f"{words.plural(count, 'day')} {SAID[state]}" for state, count in counts_of(months).items()
    )


def _ranges(days: list[int]) -> str:
    """Return the numbers as text, with ranges: 1-3, 7."""
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
