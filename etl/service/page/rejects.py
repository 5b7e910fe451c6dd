"""The page of rejects: records that could not be stored, why, and what was received."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etl.loaders.listing import Listed
from etl.service.page.filters import Asked
from etl.service.page.runs import Part, addresses

SHOWN = 25
# Of a longer payload the beginning is shown.
SHOWN_CHARACTERS = 20_000

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reject:
    """A rejected record. payload: as text to read. left_out: how many of its characters are not.

    command: shows all of it in a terminal.
    """

    row: Row
    payload: str
    left_out: int
    command: str


@dataclass(frozen=True, slots=True)
class RejectsPage(Part):
    """A part of the rejects."""

    rejects: Sequence[Reject]


def rejects_page(
    asked: Asked, listed: Listed, streams: Sequence[str], projects: Sequence[int]
) -> RejectsPage:
    """Return the page of a part of the list."""
    key = ("first_seen_at", "project_id", "stream", "record_key")
    newer, older = addresses("rejects", asked, listed, key)
    return RejectsPage(
        at=listed.at,
        asked=asked,
        rejects=[reject_of(row) for row in listed.rows],
        newer=newer,
        older=older,
        streams=streams,
        projects=projects,
    )


def reject_of(row: Row) -> Reject:
    """Return a reject as it is shown. Its payload is JSON as text, or the beginning of it."""
    text, length = row["payload"] or "", row["payload_length"] or 0
    left_out = max(0, length - len(text))
    if not left_out and text:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    command = f"posthog-etl rejects show {shlex.quote(row['record_key'])}"
    return Reject(row, text, left_out, command)
