"""The sessions table: what the events of each session add up to."""

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson

from etl.sandbox.clock import SECOND_US
from etl.sandbox.events import Event
from etl.sandbox.world import Project


def session_rows(project: Project, events: Iterable[Event]) -> Iterator[tuple[Any, ...]]:
    """One row for each session whose id is a UUIDv7; the table knows no others.

    Source: PostHog source, hogql/database/schema/sessions_v3.py.
    """
    by_session: dict[str, list[Event]] = {}
    for event in events:
        if event.session_id is not None and begun_us(event.session_id) is not None:
            by_session.setdefault(event.session_id, []).append(event)
    for session_id, found in by_session.items():
        found.sort(key=lambda event: (event.timestamp_us, event.uuid))
        yield _row(project, session_id, found)


def begun_us(session_id: str) -> int | None:
    """The instant within a UUIDv7, in microseconds; None for another id."""
    digits = session_id.replace("-", "")
    if len(session_id) != 36 or len(digits) != 32 or digits[12] != "7":
        return None
    try:
        return int(digits[:12], 16) * 1000
    except ValueError:
        return None


def _row(project: Project, session_id: str, events: list[Event]) -> tuple[Any, ...]:
    first, last = events[0], events[-1]
    located = [(each, address_of(each)) for each in events]
    urls = [url for _, url in located if url]
    distinct = {each.uuid: each.event for each in events}
    counts = [
        sum(1 for name in distinct.values() if name == counted)
        for counted in ("$pageview", "$autocapture", "$screen")
    ]
    length_s = (last.timestamp_us - first.timestamp_us) // SECOND_US
    entry, end = (urls[0], urls[-1]) if urls else (None, None)
    return (
        session_id, project.id, begun_us(session_id), first.distinct_id,
        project.person_of(first.distinct_id, first.drawn_person),
        first.timestamp_us, last.timestamp_us,
        max(each.created_us for each in events),
        orjson.dumps(list(dict.fromkeys(urls))).decode(), len(set(urls)),
        entry, *_parts(entry), "$direct", end, *_parts(end), *counts, "Direct", length_s,
        int(counts[0] == 1 and counts[1] == 0 and length_s < 10),
    )  # fmt: skip


def address_of(event: Event) -> str | None:
    """Where an event happened. Its JSON may hold what no strict parser takes."""
    _, found, rest = event.properties.partition('"$current_url":"')
    if not found:
        return None
    text = rest.partition('"')[0]
    return str(orjson.loads(f'"{text}"'))


def _parts(url: str | None) -> tuple[str | None, str | None]:
    """Path and host of an address."""
    if url is None:
        return None, None
    parts = urlsplit(url)
    return parts.path, parts.netloc
