"""Turn recordings into rows, and the persons inside them.

A recording carries its person as the person is now, so the same person comes many times. The copy
that was observed last wins: the later request, then the later start, then the greater recording id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from msgspec import Raw

from etl.core.document import decode_clean
from etl.core.drift import Drift
from etl.core.identity import Identity, Names
from etl.core.page import Batch, HashedRecord, Page, Record, Row, TypedRecord
from etl.core.stream import Expiry, Field, Kind, TableSpec
from etl.errors import InvalidRecord
from etl.transformers.fields import (
    CANONICAL_UUID,
    REPLACEMENT,
    FieldReader,
    to_json,
    to_text,
    to_uuid,
)
from etl.transformers.hashed import ContentReader, Hasher
from etl.transformers.transformer import Collector, transform_page
from etl.transformers.typed import TypedReader

RECORDINGS = TableSpec(
    name="session_recordings",
    hashed=True,
    about="One row per session recording, as PostHog's list of recordings answers it.",
    key=("id",),
    started="start_time",
    ended="end_time",
    expiry=Expiry("expiry_time", "start_time", "retention_period_days", default_days=30),
    identities=(
        Identity("id", Names.RECORDING),
        Identity("distinct_id", Names.DISTINCT_ID),
        Identity("person_uuid", Names.PERSON),
    ),
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
    hashed=True,
    about=(
        "One row per person, as last seen: in a recording, or in the list of persons if the stream "
        "persons is enabled. Without that stream only the persons of recordings are here, and none "
        "is marked deleted."
    ),
    key=("uuid",),
    identities=(Identity("uuid", Names.PERSON),),
    fields=(
        Field("uuid", Kind.UUID, "The person's uuid."),
        Field(
            "id",
            Kind.BIGINT,
            "PostHog's numeric id of the person; the list of persons does not tell it.",
            null_keeps=True,
            lenient=True,
        ),
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
    hashed=True,
    about=(
        "Which person a distinct id belongs to, as last seen: in a recording, or in the list of "
        "persons if the stream persons is enabled. PostHog shows at most ten ids of a person in a "
        "recording, and at most 1,000 in the list, so an id that is not here may exist."
    ),
    key=("distinct_id",),
    identities=(
        Identity("distinct_id", Names.DISTINCT_ID),
        Identity("person_uuid", Names.PERSON),
    ),
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
_hash_recording, _hash_person = Hasher(RECORDINGS), Hasher(PERSONS)
_hash_distinct_id = Hasher(PERSON_DISTINCT_IDS)
_DISTINCT_IDS = list[str] | str | None
# Of a usual page, all persons. Their rows take about twice as much.
_MOST_OWNERS_BYTES = 2**20
_NOTHING = (b"", b"null")


class _Owner(NamedTuple):
    """What a recording's person becomes. uuid: None if PostHog knows no person.

    hashes: see `HashedRecord`. distinct_ids: those among them.
    """

    uuid: str | None
    distinct_ids: Collection[str] = ()
    hashes: Sequence[tuple[str, Any, int]] = ()


_NOBODY = _Owner(None)


class _Cache(dict[bytes, Any]):
    """What was made of persons, by their bytes: a page shows the same person many times."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def keep(self, body: bytes, value: Any) -> None:
        """Keep a value. All others go if their persons are too large together."""
        self._bytes += len(body)
        if self._bytes > _MOST_OWNERS_BYTES:
            self.clear()
            self._bytes = len(body)
        self[body] = value


class RecordingReader:
    """Hashes and types recordings from their bytes, and learns from what it cannot read so.

    Make one for each run; see `TypedReader`.
    """

    def __init__(self) -> None:
        head = {"id": str, "distinct_id": str | None, "person": Raw, "start_time": Raw}
        self._content = ContentReader(RECORDINGS, head)
        head = {"uuid": str | None, "distinct_ids": _DISTINCT_IDS, "id": Raw, "name": Raw}
        self._person_content = ContentReader(PERSONS, head | {"created_at": Raw, "properties": Raw})
        self._recording = TypedReader(RECORDINGS, others={"person_uuid": ("person", Raw)})
        self._person = TypedReader(PERSONS, more={"distinct_ids": _DISTINCT_IDS})
        self._drift: tuple[Drift, ...] = ()
        self._owners, self._owner_rows = _Cache(), _Cache()

    @property
    def drift(self) -> Collection[Drift]:
        """What it has learned; see `RecordReader`."""
        return self._drift

    def read(self, raw: Raw) -> Record:
        """Return the record hashed; or decoded if its bytes hold a surprise.

        The hash is over all but the volatile fields, and the person apart from it.
        """
        found = self._content.read(raw)
        if found is None:
            return self._decoded(raw)
        (recording_id, distinct_id, person, started), content = found
        started = bytes(started)
        try:
            started_at = _instant(started)
            owner = self._owner(bytes(person))
        except (ValueError, OverflowError, InvalidRecord):
            return self._decoded(raw)
        if owner is None or not recording_id:
            return self._decoded(raw)
        uuid, distinct_ids, hashes = owner
        if uuid is not None and distinct_id is not None and distinct_id not in distinct_ids:
            hashes = [*hashes, _distinct_id_hash(distinct_id, uuid)]
        named = f"{recording_id}\0{uuid}\0{distinct_id is None}\0{distinct_id}\0"
        content = named.encode() + started + b"," + content
        row_hash = _hash_recording(content)
        return HashedRecord(raw, recording_id, started_at, row_hash, hashes, self)

    def _owner(self, body: bytes) -> _Owner | None:
        """Return what a person becomes; None if it is to be read field by field.

        Raises InvalidRecord.
        """
        if body in _NOTHING:
            return _NOBODY
        owner: _Owner | None = self._owners.get(body)
        if owner is not None:
            return owner
        found = self._person_content.read(Raw(body))
        if found is None:
            return None
        (uuid, distinct_ids, *named), content = found
        person_id, name, created_at, properties = map(bytes, named)
        if person_id in _NOTHING:
            empty = properties in (*_NOTHING, b"{}")
            made_up = empty and name in _NOTHING and created_at in _NOTHING
            return _NOBODY if made_up else None  # see `_is_missing`
        if uuid is None:
            return None
        uuid = uuid if CANONICAL_UUID.fullmatch(uuid) else to_uuid(uuid)
        distinct_ids = _listed(distinct_ids)
        content = b",".join((uuid.encode(), person_id, name, created_at, properties, content))
        hashes = [_distinct_id_hash(each, uuid) for each in distinct_ids]
        hashes.append((PERSONS.name, uuid, _hash_person(content)))
        owner = _Owner(uuid, distinct_ids, hashes)
        self._owners.keep(body, owner)
        return owner

    def typed(self, record: HashedRecord) -> Record:
        """Return the record typed, with its rows; or decoded if it holds a surprise.

        The rows are the same as `transform` makes of the decoded record, whatever was read before.
        """
        values = self._recording.read(record.raw)
        if values is None:
            return self._decoded(record.raw)
        body = bytes(values[_PERSON_AT])
        owner = self._owner(body)
        of_owner = () if owner is None or owner.uuid is None else self._rows(body, owner)
        if owner is None or of_owner is None:
            return self._decoded(record.raw)
        rows = [*of_owner]
        if len(rows) < len(record.others):
            _, distinct_id, row_hash = record.others[-1]
            rows.append((*_distinct_id_row(distinct_id, owner.uuid), row_hash))
        values[_PERSON_AT] = owner.uuid
        rows.append((RECORDINGS.name, record.key, (*values, None), record.row_hash))
        started_at = values[_START_AT]
        return TypedRecord((started_at is not None, started_at, record.key), rows)

    def _rows(self, body: bytes, owner: _Owner) -> Sequence[tuple[str, Any, Row, int]] | None:
        """Return the rows of a person; None if it is to be read field by field."""
        rows: Sequence[tuple[str, Any, Row, int]] | None = self._owner_rows.get(body)
        if rows is not None:
            return rows
        values = self._person.read(Raw(body))
        if values is None:
            return None
        of_person = (PERSONS.name, owner.uuid, (*values[:-2], values[-1], None))
        of_ids = [_distinct_id_row(each, owner.uuid) for each in owner.distinct_ids]
        rows = [
            (*each, row_hash)
            for each, (*_, row_hash) in zip([*of_ids, of_person], owner.hashes, strict=True)
        ]
        self._owner_rows.keep(body, rows)
        return rows

    def _decoded(self, raw: Raw) -> Record:
        record = decode_clean(raw)
        if isinstance(record, dict):
            self._content.learn(record)
            self._learn(self._recording, _recordings, record)
            if isinstance(person := record.get("person"), dict):
                self._person_content.learn(person)
                self._learn(self._person, _persons, person)
        return record

    def _learn(self, typed: TypedReader, by_field: FieldReader, record: Mapping[str, Any]) -> None:
        learned = typed.learn(record)
        if learned:
            drift = by_field.drift(record)
            self._drift += tuple(each for each in drift if each.field in learned)


def _instant(body: bytes) -> datetime | None:
    """Return the instant in these bytes. Raises ValueError."""
    if body in _NOTHING:
        return None
    if body[:1] != b'"':
        raise ValueError("no text")
    at = datetime.fromisoformat(body[1:-1].decode("ascii"))
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _listed(distinct_ids: list[str] | str | None) -> list[str]:
    return [distinct_ids] if isinstance(distinct_ids, str) else distinct_ids or []


def _distinct_id_hash(distinct_id: str, person_uuid: str) -> tuple[str, Any, int]:
    content = f"{distinct_id}\0{person_uuid}".encode()
    return PERSON_DISTINCT_IDS.name, distinct_id, _hash_distinct_id(content)


def _distinct_id_row(distinct_id: str, person_uuid: str | None) -> tuple[str, Any, Row]:
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
    more = [] if record.get("distinct_id") is None else [record["distinct_id"]]
    id_marked = not {"person", "distinct_id"}.isdisjoint(repaired)
    try:
        return add_person(
            collector,
            person,
            rank,
            more,
            repaired="person" in repaired,
            id_repaired=id_marked,
        )
    except InvalidRecord as exc:
        raise InvalidRecord(f"person.{exc.message}") from exc


def add_person(
    collector: Collector,
    person: Mapping[str, Any],
    rank: Any,
    more_ids: Sequence[str] = (),
    *,
    repaired: bool,
    id_repaired: bool,
) -> str:
    """Add a person and the distinct ids, and `more_ids`; return the uuid.

    repaired: whether anything of the person was; id_repaired: whether a distinct id may have been.
    The rows are the same wherever the person is shown. Raises InvalidRecord.
    """
    values, extra = _persons.read(person)
    distinct_ids = [*_distinct_ids(person.get("distinct_ids")), *more_ids]
    collector.note(_persons.drift(person))
    uuid: str = values[0]
    collector.add("persons", uuid, rank, _row(values, extra, ["person"] if repaired else []))
    for distinct_id in distinct_ids:
        marks = ["distinct_id"] if id_repaired and REPLACEMENT in distinct_id else []
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
