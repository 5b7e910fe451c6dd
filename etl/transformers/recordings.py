"""Turn recordings into rows, and the persons inside them.

A recording carries its person as the person is now, so the same person comes many times. The copy
that was observed last wins: the later request, then the later start, then the greater recording id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from msgspec import Raw

from etl.core.document import decode_clean
from etl.core.drift import Drift
from etl.core.page import Batch, Page, Record, Row, TypedRecord
from etl.core.stream import Expiry, Field, Kind, TableSpec
from etl.errors import InvalidRecord
from etl.transformers.fields import REPLACEMENT, FieldReader, to_json, to_text
from etl.transformers.transformer import Collector, transform_page
from etl.transformers.typed import TypedReader

RECORDINGS = TableSpec(
    name="session_recordings",
    about="One row per session recording, as PostHog's list of recordings answers it.",
    key=("id",),
    started="start_time",
    ended="end_time",
    expiry=Expiry("expiry_time", "start_time", "retention_period_days", default_days=30),
    fields=(
        Field(
            "id", Kind.TEXT, "Session id: usually UUIDv7 text, but any text up to 200 characters."
        ),
        Field("distinct_id", Kind.TEXT, "The distinct id that made the recording."),
        Field(
            "person_uuid",
            Kind.UUID,
            "The person's uuid; null when PostHog knows no person for the distinct id.",
        ),
        Field("start_time", Kind.INSTANT, "Start of the session, by the client's clock."),
        Field("end_time", Kind.INSTANT, "End of the session so far, by the client's clock."),
        Field("recording_duration", Kind.DOUBLE, "Length of the recording, in seconds."),
        Field("active_seconds", Kind.DOUBLE, "Time with activity, in seconds."),
        Field("inactive_seconds", Kind.DOUBLE, "Time without activity, in seconds."),
        Field("click_count", Kind.BIGINT, "Clicks, a count."),
        Field("keypress_count", Kind.BIGINT, "Key presses, a count."),
        Field("mouse_activity_count", Kind.BIGINT, "Mouse events, a count."),
        Field("console_log_count", Kind.BIGINT, "Console lines of level log, a count."),
        Field("console_warn_count", Kind.BIGINT, "Console lines of level warn, a count."),
        Field("console_error_count", Kind.BIGINT, "Console lines of level error, a count."),
        Field("start_url", Kind.TEXT, "First URL, cut at 512 characters by PostHog."),
        Field("activity_score", Kind.DOUBLE, "Activity from 0 to 100.", null_keeps=True),
        Field("viewed", Kind.BOOLEAN, "Whether the owner of the API key has watched it."),
        Field("viewers", Kind.TEXTS, "Emails of others who watched it.", null_keeps=True),
        Field(
            "ongoing", Kind.BOOLEAN, "Whether data arrived in the last 5 minutes.", null_keeps=True
        ),
        Field(
            "snapshot_source",
            Kind.TEXT,
            "web, mobile or unknown; from PostHog's own servers always web, since their list does "
            "not load it.",
        ),
        Field(
            "snapshot_library",
            Kind.TEXT,
            "Library that recorded; from PostHog's own servers always null, since their list does "
            "not load it.",
            null_keeps=True,
        ),
        Field("retention_period_days", Kind.BIGINT, "Days kept by PostHog.", null_keeps=True),
        Field("expiry_time", Kind.INSTANT, "When PostHog drops it.", null_keeps=True, lenient=True),
        Field(
            "recording_ttl",
            Kind.BIGINT,
            "Days left until expiry; falls every day, so it is only as fresh as _updated_at.",
            volatile=True,
            null_keeps=True,
            lenient=True,
            or_text=True,
        ),
        Field("storage", Kind.TEXT, "Where older servers kept it.", null_keeps=True),
        Field("external_references", Kind.JSON, "Linked issues, as JSON.", null_keeps=True),
        Field("has_summary", Kind.BOOLEAN, "Whether a summary exists.", null_keeps=True),
        Field("summary_outcome", Kind.JSON, "Outcome of the summary, as JSON.", null_keeps=True),
        Field("total_size", Kind.BIGINT, "Size, in bytes.", null_keeps=True),
        Field("event_count", Kind.BIGINT, "Events, a count.", null_keeps=True),
        Field(
            "matches_filters",
            Kind.BOOLEAN,
            "Whether it matched the filters of the request that read it.",
            volatile=True,
            null_keeps=True,
        ),
        Field("matching_events", Kind.JSON, "Old servers only, as JSON.", null_keeps=True),
        Field("email", Kind.TEXT, "Old servers only: the person's email.", null_keeps=True),
    ),
)

PERSONS = TableSpec(
    name="persons",
    about="One row per person that a recording belongs to, as last seen inside a recording.",
    key=("uuid",),
    fields=(
        Field("uuid", Kind.UUID, "The person's uuid."),
        Field("id", Kind.BIGINT, "PostHog's numeric id of the person.", lenient=True),
        Field("name", Kind.TEXT, "Display name, as the project's settings choose it."),
        Field("properties", Kind.JSON, "Person properties, as JSON.", null_keeps=True),
        Field("created_at", Kind.INSTANT, "When PostHog first saw the person."),
        Field(
            "last_seen_at",
            Kind.INSTANT,
            "When PostHog last saw the person; only as fresh as _updated_at.",
            volatile=True,
            null_keeps=True,
        ),
        Field("is_identified", Kind.BOOLEAN, "Whether the person is identified.", null_keeps=True),
    ),
)

PERSON_DISTINCT_IDS = TableSpec(
    name="person_distinct_ids",
    about=(
        "Which person a distinct id belongs to, as last seen inside a recording. PostHog lists at "
        "most ten ids of a person, so an id that is not here may exist."
    ),
    key=("distinct_id",),
    fields=(
        Field("distinct_id", Kind.TEXT, "The distinct id."),
        Field("person_uuid", Kind.UUID, "The person's uuid."),
    ),
)

TABLES = (RECORDINGS, PERSONS, PERSON_DISTINCT_IDS)

_PERSON_AT = RECORDINGS.columns.index("person_uuid")
_START_AT = RECORDINGS.columns.index("start_time")
# person_uuid is our own column. If an unknown server sends a field of that name, `extra` keeps it.
_recordings = FieldReader(RECORDINGS, known=("person",), omitted=("person_uuid",))
_persons = FieldReader(PERSONS, known=("distinct_ids",))
_ID_PERSON_START = itemgetter(0, _PERSON_AT, _START_AT)
_NO_PERSON = (Raw(b""), Raw(b"null"))
# Of a usual page, all persons. Their rows take about twice as much.
_MOST_OWNERS_BYTES = 2**20


class _Owner(NamedTuple):
    """What a recording's person becomes. uuid: None if PostHog knows no person."""

    uuid: str | None
    distinct_ids: Collection[str] = ()
    rows: Sequence[tuple[str, Any, Row]] = ()


_NOBODY = _Owner(None)


class RecordingReader:
    """Reads recordings from their bytes, and learns from those that it cannot read so.

    Make one for each run; see `TypedReader`.
    """

    def __init__(self) -> None:
        self._recording = TypedReader(RECORDINGS, others={"person_uuid": ("person", Raw)})
        self._person = TypedReader(PERSONS, more={"distinct_ids": list[str] | str | None})
        self._drift: tuple[Drift, ...] = ()
        # A page shows the same person many times. By the person's bytes, and their sum.
        self._owners: dict[bytes, _Owner] = {}
        self._owners_bytes = 0

    @property
    def drift(self) -> Collection[Drift]:
        """What it has learned; see `RecordReader`."""
        return self._drift

    def read(self, raw: Raw) -> Record:
        """Return the record typed, with its rows; or decoded if its bytes hold a surprise.

        The rows are the same as `transform` makes of the decoded record, whatever was read before.
        """
        values = self._recording.read(raw)
        if values is None:
            return self._decoded(raw)
        recording_id, person, started_at = _ID_PERSON_START(values)
        owner = _NOBODY if person in _NO_PERSON else self._owner(bytes(person))
        if owner is None or not recording_id:
            return self._decoded(raw)
        uuid, distinct_ids, of_owner = owner
        rows = [*of_owner]
        distinct_id = values[1]
        if uuid is not None and distinct_id is not None and distinct_id not in distinct_ids:
            rows.append(_distinct_id_row(distinct_id, uuid))
        values[_PERSON_AT] = uuid
        rows.append(("session_recordings", recording_id, (*values, None)))
        rank = (started_at is not None, started_at, recording_id)
        return TypedRecord(raw, recording_id, started_at, rank, rows)

    def _owner(self, body: bytes) -> _Owner | None:
        """Return what a person becomes; None if it is to be read field by field."""
        if body in self._owners:
            return self._owners[body]
        values = self._person.read(Raw(body))
        if values is None:
            return None
        uuid, person_id, name, properties, created_at, *_, distinct_ids, extra = values
        if person_id is None:
            made_up = name is None and created_at is None and properties in (None, "{}")
            return _NOBODY if made_up else None  # see `_is_missing`
        if uuid is None:
            return None
        distinct_ids = [distinct_ids] if type(distinct_ids) is str else distinct_ids or []
        rows = [_distinct_id_row(each, uuid) for each in distinct_ids]
        rows.append(("persons", uuid, (*values[:-2], extra, None)))
        self._owners_bytes += len(body)
        if self._owners_bytes > _MOST_OWNERS_BYTES:
            self._owners.clear()
            self._owners_bytes = len(body)
        self._owners[body] = owner = _Owner(uuid, distinct_ids, rows)
        return owner

    def _decoded(self, raw: Raw) -> Record:
        record = decode_clean(raw)
        if isinstance(record, dict):
            self._learn(self._recording, _recordings, record)
            if isinstance(person := record.get("person"), dict):
                self._learn(self._person, _persons, person)
        return record

    def _learn(self, typed: TypedReader, by_field: FieldReader, record: Mapping[str, Any]) -> None:
        learned = typed.learn(record)
        if learned:
            drift = by_field.drift(record)
            self._drift += tuple(each for each in drift if each.field in learned)


def _distinct_id_row(distinct_id: str, person_uuid: str) -> tuple[str, Any, Row]:
    return "person_distinct_ids", distinct_id, (distinct_id, person_uuid, None, None)


def _add(collector: Collector, record: Mapping[str, Any], repaired: list[str]) -> None:
    values, extra = _recordings.read(record)
    collector.note(_recordings.drift(record))
    values.insert(_PERSON_AT, None)
    recording_id, started_at = values[0], values[_START_AT]
    rank = (started_at is not None, started_at, recording_id)
    person = record.get("person")
    if person is not None:
        if not isinstance(person, dict):
            raise InvalidRecord(f"person: expected an object, got {type(person).__name__}")
        values[_PERSON_AT] = _add_person(collector, person, rank, record, repaired)
        if values[_PERSON_AT] is None and not _is_missing(person):
            extra["person"] = person
    collector.add("session_recordings", recording_id, rank, _row(values, extra, repaired))


# Returns recordings, persons and distinct ids of a page. Pure; safe to repeat.
transform: Callable[[Page], Batch] = partial(transform_page, tables=TABLES, key=("id",), add=_add)


def _add_person(
    collector: Collector,
    person: Mapping[str, Any],
    rank: tuple[Any, ...],
    record: Mapping[str, Any],
    repaired: list[str],
) -> str | None:
    """Add the person and the distinct ids; return the uuid, None if PostHog knows no person."""
    if person.get("uuid") is None or _is_missing(person):
        return None
    try:
        values, extra = _persons.read(person)
        distinct_ids = _distinct_ids(person.get("distinct_ids"))
    except InvalidRecord as exc:
        raise InvalidRecord(f"person.{exc.message}") from exc
    collector.note(_persons.drift(person))
    uuid: str = values[0]
    if record.get("distinct_id") is not None:
        distinct_ids.append(record["distinct_id"])
    marks = ["person"] if "person" in repaired else []
    collector.add("persons", uuid, rank, _row(values, extra, marks))
    id_marked = not {"person", "distinct_id"}.isdisjoint(repaired)
    for distinct_id in distinct_ids:
        marks = ["distinct_id"] if id_marked and REPLACEMENT in distinct_id else []
        row = _row([distinct_id, uuid], {}, marks)
        collector.add("person_distinct_ids", distinct_id, rank, row)
    return uuid


def _is_missing(person: Mapping[str, Any]) -> bool:
    """Tell whether PostHog made this person up.

    For an unknown distinct id PostHog returns an object without id, name and created_at, with empty
    properties and a uuid computed from project and distinct id (PostHog source,
    models/person/missing_person.py).
    """
    return (
        person.get("id") is None
        and person.get("created_at") is None
        and person.get("name") is None
        and not person.get("properties")
    )


def _distinct_ids(value: Any) -> list[str]:
    """Accept an array, which servers send, or one text, which the documentation shows."""
    if value is None:
        return []
    if type(value) is str:
        return [value]
    if type(value) is list:
        try:
            return [to_text(item) for item in value]
        except InvalidRecord as exc:
            raise InvalidRecord(f"distinct_ids: {exc.message}") from exc
    raise InvalidRecord(f"distinct_ids: expected an array, got {type(value).__name__}")


def _row(values: list[Any], extra: dict[str, Any], repaired: list[str]) -> tuple[Any, ...]:
    return (*values, to_json(extra) if extra else None, repaired or None)
