"""The error classes: each says what to do about the failure, and has an exit code.

Every message is one line for a person: the cause, then the remedy. No message holds a secret.
"""

from __future__ import annotations

import os
from typing import ClassVar

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_HELD = 4
EXIT_KEY_REFUSED = 5
EXIT_PAUSED = 6

# When streams end with different exit codes, the command exits with the first one in this list.
EXIT_PRECEDENCE = (EXIT_KEY_REFUSED, EXIT_FAILED, EXIT_PAUSED, EXIT_HELD, EXIT_PARTIAL)


def words_of(exc: BaseException) -> str:
    """Return the text of an error in one line, without the number that the system gives it."""
    text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    if isinstance(exc, OSError) and exc.errno and text.startswith("Connect call failed"):
        text = os.strerror(exc.errno)  # asyncio replaces it by a text of its own
    return " ".join(text.split())


class EtlError(Exception):
    """A failure that the code expects. `remedy`: what the reader can do about it."""

    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Return one line: the cause, then the remedy."""
        if not self.remedy:
            return self.message
        return f"{self.message.rstrip('.')}. {self.remedy}"


class ConfigurationError(EtlError):
    """A setting or an argument is wrong; the message names it. Nothing was started."""

    exit_code = EXIT_USAGE


# --- the source -------------------------------------------------------------------------------


class SourceError(EtlError):
    """The API did not answer, or answered with something other than a page.

    status: the HTTP status; None if no answer came.
    code: PostHog's name for the error; None if the answer is not in PostHog's form.
    wait_s: how long the server asks us to wait, capped at an hour; None if it did not say.
    named_wait_s: the same without the cap.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        status: int | None = None,
        code: str | None = None,
        wait_s: float | None = None,
        named_wait_s: float | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.code = code
        self.wait_s = wait_s
        self.named_wait_s = named_wait_s


class Throttled(SourceError):
    """429: wait as long as the server says, or longer each time if it does not; then ask again."""


class SourceUnavailable(SourceError):
    """5xx, a broken connection, a time-out or an unreadable answer: ask again a few times."""


class SourceOverloaded(SourceUnavailable):
    """The server ran out of time or memory on this page: ask again for a smaller page."""


class ForeignAnswer(SourceUnavailable):
    """401, 402, 403, 404 or 410 that is not in PostHog's form: a proxy or a firewall answered.

    It says nothing about a record, a stream or the key. Ask again a few times.
    """


class RequestRefused(SourceError):
    """400: the server refuses this request. Sending it again gives the same answer."""


class KeyRefused(SourceError):
    """401: the key is missing, wrong or revoked. It can read no stream."""

    exit_code = EXIT_KEY_REFUSED


class StreamUnavailable(SourceError):
    """402, 403, 404 or 410: this key cannot read this stream. Other streams go on."""

    exit_code = EXIT_PARTIAL


class ListingBroken(SourceError):
    """The list repeats, restarts or contradicts itself: reading on could loop or miss rows."""

    exit_code = EXIT_PARTIAL


class DatesIgnored(ListingBroken):
    """Asked for recordings far in the future, the server lists everything: it ignores dates."""


class BudgetSpent(EtlError):
    """The request budget is spent, and the wait would be longer than allowed."""

    exit_code = EXIT_PAUSED

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


# --- the record -------------------------------------------------------------------------------


class InvalidRecord(EtlError):
    """A record that cannot become a row. It is rejected with this reason; the page goes on."""

    exit_code = EXIT_PARTIAL


# --- the destination --------------------------------------------------------------------------


class DestinationError(EtlError):
    """Postgres refused. Trying again does not help."""


class DestinationUnavailable(DestinationError):
    """Postgres cannot be reached, or the connection broke: the same batch may be sent again."""


class RowsRefused(DestinationError):
    """Postgres refused the values themselves (SQLSTATE classes 22, 23, 54): bisect the batch."""


class CommitsLost(DestinationError):
    """Postgres has lost transactions that this run had committed."""


class LeaseHeld(EtlError):
    """Another run holds this unit."""

    exit_code = EXIT_HELD


class LeaseLost(LeaseHeld):
    """This run held the unit and another run has taken it: this run may commit no more."""


class Stopped(EtlError):
    """The run was asked to stop. The batch in hand is committed."""

    exit_code = EXIT_PARTIAL


# --- the alerts -------------------------------------------------------------------------------


class NotTold(EtlError):
    """A channel did not take a message. maybe: it may have taken it, and did not say so."""

    def __init__(self, message: str, *, remedy: str = "", maybe: bool) -> None:
        super().__init__(message, remedy=remedy)
        self.maybe = maybe


def exit_code_of(codes: list[int]) -> int:
    """Return the exit code of a command whose parts ended with `codes`."""
    if EXIT_USAGE in codes:  # only some parts need the setting that is wrong
        return EXIT_USAGE
    return next((code for code in EXIT_PRECEDENCE if code in codes), EXIT_SUCCEEDED)
