"""The error tree: each class says what is to be done about it, and which exit code it earns.

Every message is one line for a person: the cause, then the remedy. Nothing here holds a secret.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_HELD = 4
EXIT_KEY_REFUSED = 5
EXIT_PAUSED = 6

# When streams end differently, the first of these that occurred wins.
EXIT_PRECEDENCE = (EXIT_KEY_REFUSED, EXIT_FAILED, EXIT_PAUSED, EXIT_HELD, EXIT_PARTIAL)


class EtlError(Exception):
    """A foreseen failure. `remedy` is what the reader can do about it."""

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
    """The API answered with something other than a page, or not at all.

    `status` is the HTTP status, None when no answer came. `code` is PostHog's own word for the
    error, None unless the answer has PostHog's form. `wait_s` is how long to wait as the server
    asked, an hour at most, None when it did not say; `named_wait_s` is what it named.
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
    """429: wait as long as the server says, else longer each time, and ask again."""


class SourceUnavailable(SourceError):
    """5xx, a broken connection, a time-out, an unreadable answer: ask again, a few times."""


class SourceOverloaded(SourceUnavailable):
    """The server ran out of time or memory over this page: ask again for a smaller one."""


class ForeignAnswer(SourceUnavailable):
    """401, 402, 403, 404 or 410 in another form than PostHog's: a proxy or a firewall answered.

    It says nothing about a record, a stream or the key: ask again, a few times.
    """


class RequestRefused(SourceError):
    """400: the server does not take this request as it stands; asking again is useless."""


class KeyRefused(SourceError):
    """401: the key is missing, wrong or revoked. No stream can be read with it."""

    exit_code = EXIT_KEY_REFUSED


class StreamUnavailable(SourceError):
    """402, 403, 404, 410: this stream is not to be had with this key; the others go on."""

    exit_code = EXIT_PARTIAL


class ListingBroken(SourceError):
    """A list that repeats itself, restarts or contradicts itself: reading on would loop or lie."""

    exit_code = EXIT_PARTIAL


class DatesIgnored(ListingBroken):
    """Asked only for what lies far ahead, the server lists everything: there is nothing to it."""


class BudgetSpent(EtlError):
    """The next request may not go for longer than we are willing to wait."""

    exit_code = EXIT_PAUSED

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


# --- the record -------------------------------------------------------------------------------


class InvalidRecord(EtlError):
    """One record that cannot become a row: set aside with this reason, the page goes on."""

    exit_code = EXIT_PARTIAL


# --- the destination --------------------------------------------------------------------------


class DestinationError(EtlError):
    """Postgres refused, and asking again would not help."""


class DestinationUnavailable(DestinationError):
    """Postgres cannot be reached, or broke off: the same batch may be sent again."""


class RowsRefused(DestinationError):
    """Postgres refused the values themselves (SQLSTATE 22, 23, 54): bisect the rows."""


class CommitsLost(DestinationError):
    """Postgres does not know any more what this run has committed."""


class LeaseHeld(EtlError):
    """Another run holds this unit."""

    exit_code = EXIT_HELD


class LeaseLost(LeaseHeld):
    """We held this unit and another run has taken it over: nothing more may be committed."""


class Stopped(EtlError):
    """The run was asked to stop; what was in hand is committed."""

    exit_code = EXIT_PARTIAL


def exit_code_of(codes: list[int]) -> int:
    """Return the exit code of a command whose parts ended with `codes`."""
    if EXIT_USAGE in codes:  # only some parts need the setting that is wrong
        return EXIT_USAGE
    return next((code for code in EXIT_PRECEDENCE if code in codes), EXIT_SUCCEEDED)
