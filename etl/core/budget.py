"""How many requests the API allows, and when the next one may be sent.

The server counts requests over sliding windows, and all limits of a class apply together (PostHog
source, rate_limit.py and settings/session_replay.py). By the documentation a limit holds for the
organisation, by the source for one key. We assume the stricter one: all requests of all processes
that share one database are counted together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

RECORDINGS_LIST = "recordings_list"
CLICKHOUSE = "clickhouse"
CRUD = "crud"
QUERY = "query"

# What PostHog counts in each class, in words.
_NAMES = {
    RECORDINGS_LIST: "the list of recordings",
    CLICKHOUSE: "analytics endpoints",
    CRUD: "other endpoints",
    QUERY: "queries",
}
_SHARE = "verification of "

# A request reaches the server a little after we count it, and the delay varies.
SLACK = timedelta(milliseconds=250)


class Limit(Struct, frozen=True):
    """At most `requests` within any `window_s` seconds."""

    requests: int
    window_s: int


Limits = Mapping[str, Sequence[Limit]]

_EVERY_PLAN: Limits = {
    CLICKHOUSE: (Limit(240, 60), Limit(1200, 3600)),
    CRUD: (Limit(480, 60), Limit(4800, 3600)),
    # Of projects on the newer plan; on the old one a query counts against 120 an hour.
    QUERY: (Limit(240, 60), Limit(2400, 3600)),
}

PLANS: Mapping[str, Limits] = {
    "free": {**_EVERY_PLAN, RECORDINGS_LIST: (Limit(12, 60), Limit(60, 3600))},
    "paid": {**_EVERY_PLAN, RECORDINGS_LIST: (Limit(60, 60), Limit(300, 3600))},
    "enterprise": {**_EVERY_PLAN, RECORDINGS_LIST: (Limit(100, 60), Limit(400, 3600))},
    "unlimited": {},
}


def share_of(name: str) -> str:
    """Return the class that counts what verification spends of another class."""
    return _SHARE + name


def with_share(limits: Limits, share: float) -> Limits:
    """Return the limits with those of verification: a share of each hour's, one request at least.

    Within an hour verification may spend them as fast as any other work.
    """
    shares = {
        share_of(name): [
            Limit(max(1, int(limit.requests * share)), limit.window_s)
            for limit in of_class
            if limit.window_s >= 3600
        ]
        for name, of_class in limits.items()
    }
    return {**limits, **shares}


def class_named(name: str) -> str:
    """Return what a class of requests is called."""
    of = name.removeprefix(_SHARE)
    return f"{_SHARE if name.startswith(_SHARE) else ''}{_NAMES.get(of, of)}"


def about(name: str, limit: Limit) -> tuple[str, str]:
    """Return what a limit is called: in full, and as short as a line of a terminal has room for."""
    length = {60: "limit per minute", 3600: "hourly limit"}.get(
        limit.window_s, f"limit per {limit.window_s} seconds"
    )
    of, share = name.removeprefix(_SHARE), name.startswith(_SHARE)
    short = f"PostHog's {length}" if not share else f"verification's share of the {length}"
    return f"{short} for {_NAMES.get(of, of)}", short


def wait_s(
    now: datetime,
    spent: Sequence[tuple[Limit, datetime | None]],
    blocked_until: datetime | None,
) -> float:
    """Return how many seconds the next request has to wait; see `wait_of`."""
    return wait_of(now, spent, blocked_until)[0]


def wait_of(
    now: datetime,
    spent: Sequence[tuple[Limit, datetime | None]],
    blocked_until: datetime | None,
) -> tuple[float, int | None]:
    """Return how many seconds the next request has to wait, and the index of the limit that it is.

    0.0 if it may be sent now; None instead of an index if it waits because the server asked to.

    spent: each limit with the instant of its `requests`-th latest request, None if there were
    fewer.
    blocked_until: until when the server's last 429 told us to wait; None if there was none.
    """
    free_at: list[tuple[datetime, int | None]] = [
        (at + timedelta(seconds=limit.window_s) + SLACK, index)
        for index, (limit, at) in enumerate(spent)
        if at is not None
    ]
    if blocked_until is not None:
        free_at.append((blocked_until, None))
    if not free_at:
        return 0.0, None
    at, index = max(free_at, key=lambda each: each[0])
    return max(0.0, (at - now).total_seconds()), index
