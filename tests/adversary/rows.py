"""Made-up rows of real servers: recordings of several pieces, and records of other lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

RETENTION_DAYS = 30
_ONGOING = timedelta(minutes=5)


@dataclass(frozen=True)
class Piece:
    """A stored part of a session. The server filters pieces by their start, then adds them up."""

    start: datetime
    end: datetime
    clicks: int = 1


@dataclass
class Recording:
    """A session. fields: values of its row that replace the computed ones."""

    id: str
    pieces: list[Piece]
    person: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)
    retention_days: int = RETENTION_DAYS

    @property
    def start(self) -> datetime:
        """The start of the whole session."""
        return min(piece.start for piece in self.pieces)

    @property
    def expires_at(self) -> datetime:
        """Midnight at the beginning of its first day, plus the retention."""
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + timedelta(days=self.retention_days)

    def move(self, by: timedelta) -> None:
        """Move its start and end by this much."""
        self.pieces = [Piece(p.start + by, p.end + by, p.clicks) for p in self.pieces]

    def row(self, now: datetime, pieces: Sequence[Piece] | None = None) -> dict[str, Any]:
        """Return the row of a list: the sum of these pieces, or of all."""
        pieces = self.pieces if pieces is None else pieces
        start, end = min(p.start for p in pieces), max(p.end for p in pieces)
        length_s = int((end - start).total_seconds())
        return {
            "id": self.id,
            "distinct_id": self.person["distinct_ids"][0],
            "viewed": False,
            "viewers": [],
            "recording_duration": length_s,
            "active_seconds": length_s // 2,
            "inactive_seconds": length_s - length_s // 2,
            "start_time": instant(start),
            "end_time": instant(end),
            "click_count": sum(p.clicks for p in pieces),
            "keypress_count": 0,
            "mouse_activity_count": len(pieces),
            "console_log_count": 0,
            "console_warn_count": 0,
            "console_error_count": 0,
            "start_url": "https://example.com/",
            "person": self.person,
            "retention_period_days": self.retention_days,
            "expiry_time": instant(self.expires_at),
            "recording_ttl": max(0, (self.expires_at - now).days),
            "snapshot_source": "web",
            "snapshot_library": None,
            "ongoing": end > now - _ONGOING,
            "activity_score": round(length_s / 100, 2),
            "external_references": [],
            "total_size": None,
            "event_count": None,
            **self.fields,
        }


def recording(
    id: str,
    start: datetime,
    *,
    minutes: float = 10,
    clicks: int = 1,
    pieces: Iterable[tuple[datetime, datetime, int]] | None = None,
    person: dict[str, Any] | None = None,
    retention_days: int = RETENTION_DAYS,
    **fields: Any,
) -> Recording:
    """Return a recording of one piece, or of several (start, end, clicks)."""
    found = [(start, start + timedelta(minutes=minutes), clicks)] if pieces is None else pieces
    return Recording(
        id,
        [Piece(*piece) for piece in found],
        person_of(1) if person is None else person,
        fields,
        retention_days,
    )


def recordings(
    count: int, newest: datetime, step: timedelta = timedelta(minutes=7), ties: int = 0
) -> list[Recording]:
    """Return `count` recordings, newest first; `ties` of them, in the middle, start together."""
    first = (count - ties) // 2
    places = (i if i < first else max(first, i + 1 - max(ties, 1)) for i in range(count))
    return [recording(f"r{i:06}", newest - step * place) for i, place in enumerate(places)]


def person_of(number: int, **properties: Any) -> dict[str, Any]:
    """Return a person as recordings carry it."""
    return {
        "id": number,
        "name": f"person{number}@example.com",
        "distinct_ids": [f"d{number}"],
        "properties": {"email": f"person{number}@example.com", **properties},
        "created_at": "2025-01-01T00:00:00Z",
        "uuid": f"00000000-0000-4000-8000-{number:012}",
        "last_seen_at": None,
    }


def user(number: int = 1) -> dict[str, Any]:
    """Return a member of the organization as `created_by` carries it."""
    return {
        "id": number,
        "uuid": f"00000000-0000-4000-9000-{number:012}",
        "distinct_id": f"u{number}",
        "first_name": f"User {number}",
        "last_name": "",
        "email": f"user{number}@example.com",
        "is_email_verified": None,
    }


def insight(id: int, **fields: Any) -> dict[str, Any]:
    """Return an insight."""
    return {
        **{"id": id, "short_id": f"in{id}", "name": f"Insight {id}", "description": ""},
        **{"dashboards": [], "saved": True, "deleted": False, "tags": []},
        **{"created_at": _made(id), "created_by": user(), "last_modified_at": _made(id)},
        **fields,
    }


def subscription(id: int, **fields: Any) -> dict[str, Any]:
    """Return a subscription by mail."""
    return {
        **{"id": id, "dashboard": None, "insight": 1, "target_type": "email"},
        **{"target_value": "someone@example.com", "frequency": "weekly", "interval": 1},
        **{"byweekday": None, "bysetpos": None, "count": None, "until_date": None},
        **{"start_date": "2026-01-01T00:00:00Z", "created_at": _made(id), "created_by": user()},
        **{"deleted": False, "title": f"Subscription {id}", "summary": "sent every week"},
        **{"next_delivery_date": None, "invite_message": None},
        **fields,
    }


def playlist(short_id: str, **fields: Any) -> dict[str, Any]:
    """Return a collection, or a saved filter with `type="filters"`."""
    return {
        **{"id": 1, "short_id": short_id, "name": short_id, "derived_name": None},
        **{"description": "", "pinned": False, "deleted": False, "filters": {}},
        **{"type": "collection", "created_at": _made(1), "created_by": user()},
        **{"last_modified_at": _made(1), "last_modified_by": user(), "recordings_counts": {}},
        **fields,
    }


def secret_key(id: str, **fields: Any) -> dict[str, Any]:
    """Return a secret key of the project without its value, as in a list."""
    return {
        **{"id": id, "label": f"Key {id}", "value": None, "mask_value": "phs_...abcd"},
        **{"created_at": _made(1), "last_used_at": None, "last_rolled_at": None},
        **{"created_by": user(), "scopes": ["endpoint:read"]},
        **fields,
    }


def group(key: str, type_index: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a group."""
    return {
        **{"group_type_index": type_index, "group_key": key},
        **{"group_properties": {"name": key}, "created_at": _made(1)},
        **fields,
    }


def group_type(index: int, name: str) -> dict[str, Any]:
    """Return a type of groups."""
    return {
        **{"group_type": name, "group_type_index": index, "name_singular": None},
        **{"name_plural": None, "detail_dashboard": None, "default_columns": None},
        "created_at": None,
    }


def sharing(token: str, *, enabled: bool = True, **fields: Any) -> dict[str, Any]:
    """Return a sharing configuration that was saved."""
    return {
        **{"created_at": _made(1), "enabled": enabled, "access_token": token},
        **{"settings": None, "password_required": False, "share_passwords": []},
        **fields,
    }


def instant(at: datetime) -> str:
    """Return an instant as PostHog writes it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _made(number: int) -> str:
    return instant(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number))
