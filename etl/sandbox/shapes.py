"""Recordings as JSON, in every shape that a server is known to send."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

from etl.sandbox.clock import DAY_US, EPOCH
from etl.sandbox.fragments import Fragments, PersonShape
from etl.sandbox.options import PageVersion
from etl.sandbox.readings import Reading, activity_score
from etl.sandbox.world import ONGOING_US, Project

Row = dict[str, Any]
"""A record; `etl.sandbox.errors.json_response` knows how to write what is in it."""

URL_LENGTH = 512
_Documented = Literal["A", "C", "D"]
_BASIC = (
    "id", "distinct_id", "viewed", "recording_duration", "active_seconds", "inactive_seconds",
    "start_time", "end_time", "click_count", "keypress_count", "mouse_activity_count",
    "console_log_count", "console_warn_count", "console_error_count", "start_url", "person",
    "snapshot_source", "ongoing", "activity_score",
)  # fmt: skip
_DOCUMENTED: dict[_Documented, tuple[str, ...]] = {
    "A": (*_BASIC, "storage"),
    "C": (*_BASIC, "viewers", "storage"),
    "D": (
        *_BASIC, "viewers", "retention_period_days", "expiry_time", "recording_ttl",
        "snapshot_library", "external_references",
    ),
}  # fmt: skip
_VERSIONS: tuple[_Documented, ...] = ("A", "C", "D")


def _instant(instant_us: int) -> datetime:
    # A float holds microseconds exactly for two more centuries, and this is the fastest way.
    return datetime.fromtimestamp(instant_us / 1_000_000, UTC)


@lru_cache(maxsize=8192)
def _midnight(day: int) -> datetime:
    return EPOCH + timedelta(days=day)


class Shapes:
    """Writes the recordings of one project. Instants are microseconds since 1970."""

    def __init__(self, project: Project) -> None:
        """Keeps serialised persons from one row to the next."""
        self._project = project
        self._fragments = Fragments(project)

    def cloud(self, number: int, reading: Reading, now_us: int) -> Row:
        """A row of the real server's list."""
        return self._fields(number, reading, now_us, "list")

    def retrieved(self, number: int, reading: Reading, now_us: int) -> Row:
        """A recording asked for by its id: no score, but sizes (PostHog source, recording API)."""
        row = self._fields(number, reading, now_us, "full")
        del row["matches_filters"]
        row["activity_score"] = None
        events = sum(reading.activity[1:])
        row["event_count"], row["total_size"] = events, 1000 + 350 * events
        return row

    def extra(self, number: int, reading: Reading, now_us: int, matches: bool) -> Row:
        """A row that was asked for with session_recording_id."""
        row = self._fields(number, reading, now_us, "list")
        row["matches_filters"] = matches
        return row

    def documented(self, number: int, reading: Reading, now_us: int, version: PageVersion) -> Row:
        """A row as one of the documentation's pages shows it."""
        shape = self._mixed(number) if version == "mixed" else version
        fields = self._fields(number, reading, now_us, shape)
        fields["storage"] = self._project.traits(number).storage
        row = {name: fields[name] for name in _DOCUMENTED[shape]}
        if shape == "A":
            score = row["activity_score"]
            row["activity_score"] = None if score is None else int(score)
        elif shape == "D":
            row["recording_ttl"] = str(row["recording_ttl"])
        return row

    def _mixed(self, number: int) -> _Documented:
        # Chosen by person, so that all recordings of one person show the same form of the person.
        _, owner = self._project.owner(number)
        return _VERSIONS[(number if owner is None else owner) % len(_VERSIONS)]

    def _fields(self, number: int, reading: Reading, now_us: int, shape: PersonShape) -> Row:
        """Every field that any version has."""
        traits = self._project.traits(number)
        source, library, viewed, viewers, has_summary, scored, _, retention_days = traits
        distinct_id, person = self._fragments.of(number, shape)
        start_us, end_us, last_arrival_us, activity, start_url = reading
        active_ms, clicks, keys, mouse, logs, warns, errors = activity
        duration_ms = (end_us - start_us) // 1000
        expires_on = start_us // DAY_US + retention_days
        return {
            "id": self._project.recording_id(number),
            "distinct_id": distinct_id,
            "viewed": viewed,
            "viewers": viewers,
            "recording_duration": duration_ms // 1000,
            "active_seconds": active_ms // 1000,
            "inactive_seconds": (duration_ms - active_ms) // 1000,
            "start_time": _instant(start_us),
            "end_time": _instant(end_us),
            "click_count": clicks,
            "keypress_count": keys,
            "mouse_activity_count": mouse,
            "console_log_count": logs,
            "console_warn_count": warns,
            "console_error_count": errors,
            "start_url": start_url[:URL_LENGTH] if start_url else start_url,
            "person": person,
            "retention_period_days": retention_days,
            "expiry_time": _midnight(expires_on),
            "recording_ttl": expires_on - now_us // DAY_US,
            "snapshot_source": source,
            "snapshot_library": library,
            "ongoing": last_arrival_us >= now_us - ONGOING_US,
            "activity_score": activity_score(activity, duration_ms // 1000) if scored else None,
            "has_summary": has_summary,
            "summary_outcome": None,
            "external_references": (),
            "matches_filters": True,
            "total_size": None,
            "event_count": None,
        }
