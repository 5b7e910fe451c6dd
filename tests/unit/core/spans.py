"""The union of stretches of time."""

from __future__ import annotations

from collections.abc import Iterable

from etl.core.coverage import Coverage, Span


def united(spans: Iterable[Span]) -> Coverage:
    """The union, as Postgres makes it of a multirange."""
    united: list[Span] = []
    for span in sorted(span for span in spans if span.since < span.until):
        if united and span.since <= united[-1].until:
            united[-1] = Span(united[-1].since, max(united[-1].until, span.until))
        else:
            united.append(span)
    return Coverage(tuple(united))
