"""Set up structlog: readable lines on a terminal, JSON lines otherwise; always on stderr.

An event is named after what happened; docs/logs.md describes its fields. Events of a run carry its
id and its unit, events about a request carry the id of the request. They are:

run.started, run.finished, run.interrupted (debug), run.broke, window.opened, window.closed,
snapshot.closed, snapshot.restarted, comparison.closed, digest.compared, digest.unavailable,
amount.unavailable (debug), slice.chosen,
slice.postponed, page.fetched (debug), page.shrunk,
page.unreadable,
request.failed, request.untold (debug), query.lost, query.shortened, query.replaced,
wait.began, wait.ended,
list.restarted, parent.refused, clock.skewed, clocks.disagree,
window.shortened, cuts.asked, ahead.failed, recordings.omitted, probe.failed, confirmation.failed,
confirmation.halved, list.miscounted, watermark.cut_back, batch.loaded (debug), record.rejected,
record.unanswered, drift.found, deletions.withheld, expiry.withheld, expiry.unconfirmed,
confirmation.distrusted, persons.omitted (debug), person.forgotten, project.removed, lease.lost,
lease.inherited, database.unavailable, database.migrated,
alerts.told, alerts.untold, alerts.unevaluated, alerts.broke, recipient.refused,
source.doubted, setting.deprecated, setting.unknown, service.started, service.waiting,
service.ended, tick.started, tick.finished, tick.skipped, tick.failed, tick.broke, history.pruned,
prune.failed, answer.broke, connection.refused, units.enqueued, queue.lost, worker.started,
worker.stopping, worker.stopped, worker.untouched, job.taken, job.finished, job.kept, job.returned,
job.broke, job.unnoted, job.abandoned
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

import orjson
import structlog

HIDDEN = "•••"

# Events about one request carry its `request_id`. The id stays bound until the task sends its next
# request, so other events drop it.
ABOUT_A_REQUEST = frozenset(
    {
        "page.fetched",
        "page.shrunk",
        "page.unreadable",
        "request.failed",
        "list.restarted",
        "parent.refused",
        "clock.skewed",
        "record.unanswered",
        "confirmation.distrusted",
        "confirmation.failed",
        "confirmation.halved",
        "query.lost",
        "query.shortened",
        "request.untold",
        "window.shortened",
    }
)
# Bound for a whole run. On a terminal these come last, after the event's own fields.
_BOUND = ("request_id", "stream", "unit", "project_id", "run_id")
_SHORT_ID_LENGTH = 8
_IN_WORDS = re.compile(r"password\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s&]+))", re.IGNORECASE)


class Redactor:
    """Replaces known secrets in text: the password of a database address, keys and tokens."""

    def __init__(
        self,
        api_key: str | None = None,
        database_url: str | None = None,
        queue_database_url: str | None = None,
        database_password: str | None = None,
        *others: str | None,
    ) -> None:
        hidden = {
            api_key or "",
            *_passwords(database_url or ""),
            *_passwords(queue_database_url or ""),
            *_forms([database_password or ""]),
            *(text or "" for text in others),
        }
        # Hiding a very short secret would replace parts of unrelated words.
        self._hidden = sorted((word for word in hidden if len(word) >= 4), key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return `text` with every known secret replaced."""
        for word in self._hidden:
            text = text.replace(word, HIDDEN)
        return text

    def value(self, value: Any) -> Any:
        """Return `value` with the texts inside it redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(str(value))  # an exception, a path, an address: redact what would be shown

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Redact a log event (a structlog processor)."""
        return {key: self.value(value) for key, value in event.items()}


def configure_logs(redactor: Redactor, level: str | None = None) -> None:
    """Send events of this level, and worse, to stderr. Safe to repeat.

    level: debug, info, warning or error. None: info; on a terminal warning, because there the
    progress says what happens.
    """
    on_terminal = sys.stderr.isatty()
    level = level or ("warning" if on_terminal else "info")
    colours = on_terminal and not os.environ.get("NO_COLOR")
    render: list[Any] = (
        [
            _for_people,
            structlog.dev.ConsoleRenderer(
                colors=colours, pad_event_to=0, pad_level=False, sort_keys=False
            ),
        ]
        if on_terminal
        else [structlog.processors.JSONRenderer(serializer=_dumps)]
    )
    time_format = "%H:%M:%SZ" if on_terminal else "iso"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _only_about_a_request,
            structlog.processors.TimeStamper(fmt=time_format, utc=True),
            structlog.processors.format_exc_info,
            redactor,
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Looked up at each event, because the progress replaces stderr while it is shown.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _only_about_a_request(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if event.get("event") not in ABOUT_A_REQUEST:
        event.pop("request_id", None)
    return event


def _for_people(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Return the event in the order a person reads it, without empty fields."""
    bound = {name: event.pop(name) for name in _BOUND if name in event}
    if "run_id" in bound:
        bound["run_id"] = str(bound["run_id"])[:_SHORT_ID_LENGTH]
    return {name: value for name, value in {**event, **bound}.items() if value is not None}


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


def _passwords(address: str) -> set[str]:
    """Return the password of a database address, in every form in which it may appear."""
    found: list[str] = [a or b for a, b in _IN_WORDS.findall(address)]
    if "://" in address:
        with contextlib.suppress(ValueError):
            found.append(urlsplit(address).password or "")
        # Characters that are not percent-encoded can make urlsplit find another password.
        before_host = address.split("://", 1)[1].rsplit("@", 1)
        if len(before_host) == 2 and ":" in before_host[0]:
            found.append(before_host[0].split(":", 1)[1])
    found += [re.sub(r"\\(.)", r"\1", word) for word in found]  # as in password='it\'s'
    return _forms(found)


def _forms(found: list[str]) -> set[str]:
    """Return each word in every form in which it may appear."""
    raw = {form for word in found for form in (word, unquote(word))}
    encoded = {quote(word, safe=safe, errors="replace") for word in raw for safe in ("", " +", "/")}
    encoded |= {quote_plus(word, errors="replace") for word in raw}
    # As repr and JSON write it.
    escaped = {repr(word)[1:-1] for word in raw} | {json.dumps(word)[1:-1] for word in raw}
    return raw | encoded | escaped
