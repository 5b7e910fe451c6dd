"""What a recording has apart from its pieces: source, viewers, retention, storage."""

from functools import cache
from typing import NamedTuple

from etl.sandbox.generate import RETENTIONS_DAYS, Columns

OWNER_EMAIL = "owner@sandbox.example"
"""Whose personal API key is used: `viewed` is about this user, `viewers` never names it."""

_TEAM = ("ana@sandbox.example", "bo@sandbox.example", "çelik@sandbox.example", "di@sandbox.example")
_LIBRARIES = ("posthog-android", "posthog-ios", "posthog-react-native")


class Traits(NamedTuple):
    """Facts about one recording that no piece holds."""

    source: str | None
    recorder: str | None
    viewed: bool
    viewers: tuple[str, ...]
    has_summary: bool
    scored: bool
    """Whether an activity score is worked out at all."""
    storage: str
    retention_days: int


PLAIN = Traits("web", "posthog-js", False, (), False, True, "object_storage", 30)


def _origin(drawn: int) -> tuple[str | None, str | None]:
    if drawn < 54:
        return "web", "posthog-js"
    if drawn < 62:
        return "mobile", _LIBRARIES[drawn % 3]
    return ("unknown" if drawn % 2 else "web"), None


def _seen(drawn: int) -> tuple[bool, tuple[str, ...]]:
    if drawn == 9:
        return True, _TEAM[:2]
    return drawn < 3, ((_TEAM[drawn >> 4],) if drawn % 16 == 5 else ())


@cache
def _traits(source: int, seen: int, retention: int) -> Traits:
    return Traits(
        *_origin(source),
        *_seen(seen),
        has_summary=source % 32 == 3,
        scored=source != 7,
        storage="object_storage_lts" if seen % 8 == 6 else "object_storage",
        retention_days=RETENTIONS_DAYS[retention],
    )


def generated_traits(columns: Columns, number: int) -> Traits:
    """The traits of a generated recording."""
    # Six bits of each column, so that the cache stays small: most rows share few traits.
    source, seen = columns.source[number] & 63, columns.seen[number] & 63
    return _traits(source, seen, columns.retention[number])
