"""Asks for single records by their keys, one request each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from etl.errors import RequestRefused, SourceError, SourceUnavailable, StreamUnavailable
from etl.extractors.client import Client
from etl.extractors.protocol import (
    Answer,
    Request,
    is_record_closed,
    is_record_gone,
    names_the_project,
)

_log = structlog.get_logger(__name__)

# After so many failures one after the other a record that is there tells whether it is the server.
FAILURES_IN_A_ROW = 3


@dataclass(slots=True)
class Singles:
    """The answers: of the records that are there, and the keys of the others.

    gone: PostHog says that there is no such record. hidden: the key's owner may not see it, or no
    address can name it. failed: the request failed.
    """

    found: list[Answer] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    why_failed: str = ""


async def ask_singly(
    client: Client,
    request_of: Callable[[str], Request | None],
    keys: Iterable[str],
    known: Sequence[str],
) -> Singles:
    """Ask for each record; one whose request fails does not keep the others from being asked for.

    request_of: None for a key that cannot stand in an address. known: keys of records that are
    there; where one of these is answered, the failures are the records' own. Safe to repeat. Raises
    BudgetSpent, and a SourceError that is not one record's.
    """
    singles = Singles()
    last: SourceError | None
    in_a_row, last, witnesses, answers = 0, None, list(known), False
    for key in keys:
        request = request_of(key)
        if request is None:
            singles.hidden.append(key)
            continue
        try:
            singles.found.append(await client.fetch(request))
            witnesses.append(key)
        except (StreamUnavailable, SourceUnavailable, RequestRefused) as exc:
            if is_record_gone(exc):
                singles.gone.append(key)
                in_a_row = 0
                continue
            if is_record_closed(exc):
                singles.hidden.append(key)
                in_a_row = 0
                continue
            if isinstance(exc, StreamUnavailable) and not names_the_project(exc):
                raise
            in_a_row, last = in_a_row + 1, exc
            singles.failed.append(key)
            _log.warning("record.unanswered", reason=exc.message)
            if in_a_row >= FAILURES_IN_A_ROW:
                others = [each for each in witnesses if each not in singles.failed]
                answers = await finds_one(client, request_of, others)
                if not answers:
                    raise
                in_a_row = 0
            continue
        in_a_row = 0
    if last is not None:
        answered = answers or singles.found or singles.gone or singles.hidden
        if not answered and not await finds_one(client, request_of, known):
            raise last
        singles.why_failed = last.message
    return singles


async def finds_one(
    client: Client, request_of: Callable[[str], Request | None], known: Sequence[str]
) -> bool:
    """Tell whether the server finds one of these records, which are there, by its key.

    One that does not answers nothing about the others. Raises BudgetSpent.
    """
    for key in known:
        request = request_of(key)
        if request is None:
            continue
        try:
            await client.fetch(request)
        except SourceError:
            continue
        return True
    return False
