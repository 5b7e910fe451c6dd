"""What a reader asks of the pages /runs, /rejects and of a stream, from the address. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

import orjson

from etl.core.dates import parse_date
from etl.core.query import PREFIX
from etl.core.statuses import FAILED, PARTIAL, PAUSED, RUNNING, SUCCEEDED, Chosen
from etl.errors import EtlError
from etl.loaders.listing import Turn
from etl.settings import nearest

STATUSES = (RUNNING, SUCCEEDED, PARTIAL, PAUSED, FAILED)
# How far back the plots of a stream go.
LENGTHS: Mapping[str, timedelta] = {
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}
DEFAULT_LENGTH = "7d"
_MOST_PROJECT = 2**63 - 1
_NUMBER = re.compile("[0-9]{1,19}")

Given = Sequence[tuple[str, str]]


class BadFilter(EtlError):
    """The address asks for something that does not exist."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is listed. given: the filters as they were written, without the turn.

    resolved: also rejects that were loaded after all.
    """

    given: tuple[tuple[str, str], ...]
    chosen: Chosen
    projects: tuple[int, ...]
    turn: Turn | None
    resolved: bool = False

    def value(self, name: str) -> str:
        """Return a filter as it was written, empty if it was not."""
        return next((value for key, value in self.given if key == name), "")

    def address(self, page: str, turn: Turn | None = None) -> str:
        """Return the address of a page with these filters."""
        given = list(self.given)
        if turn is not None:
            given.append(("newer" if turn.newer else "older", written(turn.key)))
        return f"{page}?{urlencode(given)}" if given else page


def read_runs(given: Given, streams: Collection[str], now: datetime) -> Asked:
    """Return which runs are asked for. Raises BadFilter.

    streams: those that are known; there may be runs of a query that is no longer configured.
    """
    own = _own(given, ("stream", "status", "project", "since", "until", "older", "newer"))
    statuses = tuple(value for name, value in own if name == "status")
    for status in statuses:
        if status not in STATUSES:
            raise BadFilter(
                f"There is no status {status!r}{nearest(status, STATUSES)}",
                remedy=f"It is one of {', '.join(STATUSES)}",
            )
    since, until = (_instant(own, name, now) for name in ("since", "until"))
    if since is not None and since >= (until or now):
        end = "now" if until is None else f"until {until:%Y-%m-%d %H:%M}"
        raise BadFilter(
            f"since {since:%Y-%m-%d %H:%M} is not before {end}",
            remedy="Give an earlier since, or a later until",
        )
    return Asked(
        _kept(own),
        Chosen(_streams(own, streams), statuses, since, until),
        _projects(own),
        _turn(own, (datetime, uuid.UUID)),
    )


def read_rejects(given: Given, streams: Collection[str]) -> Asked:
    """Return which rejects are asked for. Raises BadFilter."""
    own = _own(given, ("stream", "project", "show", "older", "newer"))
    shows = [value for name, value in own if name == "show"]
    for show in shows:
        if show != "all":
            raise BadFilter(f"There is no show={show}", remedy="It is all, or left out")
    return Asked(
        _kept(own),
        Chosen(_streams(own, streams)),
        _projects(own),
        _turn(own, (datetime, int, str, str)),
        resolved=bool(shows),
    )


def read_length(given: Given) -> str:
    """Return how far back the plots go, one of LENGTHS. Raises BadFilter."""
    lengths = [value for _, value in _own(given, ("over",))] or [DEFAULT_LENGTH]
    if lengths[-1] not in LENGTHS:
        raise BadFilter(
            f"The plots cannot go back {lengths[-1]!r}", remedy=f"It is one of {', '.join(LENGTHS)}"
        )
    return lengths[-1]


def written(key: tuple[object, ...]) -> str:
    """Return the key of a row as a word of an address."""
    parts = [each.isoformat() if isinstance(each, datetime) else each for each in key]
    return base64.urlsafe_b64encode(orjson.dumps(parts, default=str)).decode().rstrip("=")


def _own(given: Given, known: Sequence[str]) -> list[tuple[str, str]]:
    """Return the filters that are not empty: a form sends those that were left out, too."""
    for name, value in given:
        if name not in known:
            raise BadFilter(
                f"There is no filter {name!r}{nearest(name, known)}",
                remedy=f"Filters: {', '.join(each for each in known if each not in _TURNS)}",
            )
        if "\0" in value:
            raise BadFilter(f"{name} holds a zero character", remedy="Leave it out")
    return [(name, value.strip()) for name, value in given if value.strip()]


_TURNS = ("older", "newer")


def _kept(own: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in own if name not in _TURNS)


def _streams(own: Given, known: Collection[str]) -> tuple[str, ...]:
    names = tuple(value for name, value in own if name == "stream")
    for name in names:
        if name not in known and not name.startswith(PREFIX):
            raise BadFilter(
                f"There is no stream {name!r}{nearest(name, known)}",
                remedy="`posthog-etl streams` lists them",
            )
    return names


def _projects(own: Given) -> tuple[int, ...]:
    found = []
    for name, value in own:
        if name != "project":
            continue
        if not _NUMBER.fullmatch(value) or int(value) > _MOST_PROJECT:
            raise BadFilter(
                f"project {value!r} is not a number", remedy="Give the number of a project"
            )
        found.append(int(value))
    return tuple(found)


def _instant(own: Given, name: str, now: datetime) -> datetime | None:
    values = [value for key, value in own if key == name]
    if not values:
        return None
    try:
        return parse_date(values[-1], now)
    except ValueError as exc:
        raise BadFilter(f"{name} {exc}") from exc


def _turn(own: Given, types: Sequence[type]) -> Turn | None:
    turns = [(name, value) for name, value in own if name in _TURNS]
    if not turns:
        return None
    name, text = turns[-1]
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        key = tuple(_part(part, kind) for part, kind in zip(parts, types, strict=True))
    except (ValueError, TypeError, binascii.Error) as exc:
        raise BadFilter(
            "This address was cut or changed", remedy="Begin again at the newest page"
        ) from exc
    return Turn(key, newer=name == "newer")


def _part(part: object, kind: type) -> object:
    """Return a part of a key, as its column has it. Raises ValueError."""
    if kind is int and isinstance(part, int) and 0 <= part <= _MOST_PROJECT:
        return part
    if kind is not int and isinstance(part, str) and "\0" not in part:
        if kind is datetime:
            at = datetime.fromisoformat(part)
            if at.tzinfo is not None:
                return at
        elif kind is uuid.UUID:
            return str(uuid.UUID(part))
        else:
            return part
    raise ValueError("is of another type")
