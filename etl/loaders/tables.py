"""The tables of the database, made from the catalogue. Alembic compares the database to them.

The setting `schema` names three schemas: NAME holds the data, NAME_queries the tables of configured
queries, NAME_etl the bookkeeping and Alembic's version. So one database can hold several
deployments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSTZMULTIRANGE
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from etl.core.stream import Kind, TableSpec
from etl.streams import TABLE_SPECS

_INSTANT = DateTime(timezone=True)

COLUMN_TYPES: Mapping[Kind, TypeEngine[Any]] = {
    Kind.TEXT: Text(),
    Kind.BIGINT: BigInteger(),
    Kind.DOUBLE: Double(),
    Kind.BOOLEAN: Boolean(),
    Kind.INSTANT: _INSTANT,
    Kind.UUID: Uuid(as_uuid=False),
    Kind.JSON: JSONB(),
    Kind.TEXTS: ARRAY(Text()),
    Kind.NUMERIC: Numeric(),
    Kind.DATE: Date(),
}

_PROJECT = "PostHog's numeric project id."
_PROJECT_OR_NONE = "PostHog's numeric project id; 0: @current, before its number is known."
_STREAM = "Name of the stream, as `posthog-etl streams` lists it."
_HASH = "Hash of what the row was made of, without volatile fields; null: it is not known."
_UNIT = (
    "`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; "
    "`rotation`: some resources at a time; `rejects`: the rejects of the stream; `verify`, "
    "`verify deep`, `verify slice`: a comparison of source and destination; `resync`: a stream "
    "that is read anew."
)


def data_table(spec: TableSpec, metadata: MetaData, schema: str) -> Table:
    """Return the table of `spec`: its fields, then the columns of every data table."""
    return Table(
        spec.name,
        metadata,
        _column("project_id", BigInteger(), _PROJECT, nullable=False),
        *(
            _column(f.name, COLUMN_TYPES[f.kind], f.about, nullable=f.name not in spec.key)
            for f in spec.fields
        ),
        _column("extra", JSONB(), "Fields that the catalogue does not know, as JSON."),
        _column(
            "_repaired",
            ARRAY(Text()),
            "Fields in which something that Postgres cannot hold was replaced.",
        ),
        _column("_observed_at", _INSTANT, "When the request for this content was sent.", False),
        _column("_first_seen_at", _INSTANT, "When the row was first written here.", False),
        _column("_updated_at", _INSTANT, "When the content last changed here.", False),
        _column("_xid", BigInteger(), "Transaction that last changed the row here.", False),
        _column("_deleted_at", _INSTANT, "When the row was found gone at the source."),
        *_expiry(spec),
        *([_column("_hash", BigInteger(), _HASH)] if spec.hashed else ()),
        PrimaryKeyConstraint("project_id", *spec.key, name=f"{spec.name}_pkey"),
        *([Index(f"{spec.name}_by_start", "project_id", spec.started)] if spec.started else ()),
        *([Index(f"{spec.name}_by_time", "project_id", spec.indexed)] if spec.indexed else ()),
        schema=schema,
        comment=spec.about,
    )


def _expiry(spec: TableSpec) -> Iterable[SchemaItem]:
    if spec.expiry is None:
        return
    yield _column(
        "_expired_at",
        _INSTANT,
        "When the row was found gone at the source after its expiry time.",
    )
    yield Index(
        f"{spec.name}_by_expiry",
        "project_id",
        spec.expiry.at,
        postgresql_where=text("_expired_at IS NULL AND _deleted_at IS NULL"),
    )
    # Each sync looks for marks that a wrong clock has set.
    yield Index(
        f"{spec.name}_by_expired",
        "project_id",
        "_expired_at",
        postgresql_where=text("_expired_at IS NOT NULL"),
    )


class _DataTables(dict[str, Table]):
    """The data tables by name. Each is made when it is first asked for."""

    def __init__(self, metadata: MetaData, schema: str) -> None:
        super().__init__()
        self._metadata = metadata
        self._schema = schema

    def __missing__(self, name: str) -> Table:
        table = self[name] = data_table(TABLE_SPECS[name], self._metadata, self._schema)
        return table


class Tables:
    """All tables of one deployment, whose data schema is `schema`.

    Each is made when it is first asked for: a sync uses few of them, and all take 25 ms.
    """

    leases: Table
    checkpoints: Table
    watermarks: Table
    runs: Table
    rejects: Table
    drift: Table
    suspects: Table
    sightings: Table
    cuts: Table
    checks: Table
    hosts: Table
    requests: Table
    request_blocks: Table
    query_slots: Table
    schedules: Table
    differences: Table
    reconciliations: Table
    explained_days: Table
    growing_lists: Table
    parent_lists: Table
    forgotten: Table
    forget_key: Table
    audit: Table

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.deployment = schema
        self._metadata = MetaData()
        self.data: Mapping[str, Table] = _DataTables(self._metadata, schema)

    def table(self, spec: TableSpec) -> Table:
        """Return the table of `spec`; that of a query is made anew each time."""
        if spec.queried:
            return data_table(spec, MetaData(), self.schema)
        return self.data[spec.name]

    def __getattr__(self, name: str) -> Table:
        """Return a table of the bookkeeping that was not made yet."""
        if name not in _BOOKKEEPING:
            raise AttributeError(f"There is no table {name!r}")
        table = _BOOKKEEPING[name](self._metadata, self.bookkeeping)
        setattr(self, name, table)
        return table

    @property
    def metadata(self) -> MetaData:
        """SQLAlchemy's collection of the tables, with all of them in it."""
        for name in TABLE_SPECS:
            self.data[name]
        for name in _BOOKKEEPING:
            getattr(self, name)
        return self._metadata

    @property
    def bookkeeping(self) -> str:
        """The schema of the bookkeeping tables."""
        return f"{self.deployment}_etl"

    @functools.cached_property
    def queried(self) -> Tables:
        """The same tables where `schema` holds the tables of configured queries.

        They are made while it runs, so `data` does not know them.
        """
        other = Tables(self.deployment)
        other.schema = f"{self.deployment}_queries"
        return other


@functools.cache
def tables_of(schema: str) -> Tables:
    """Return the tables of a deployment, made once: a service opens the same one at every tick."""
    return Tables(schema)


def _leases(metadata: MetaData, schema: str) -> Table:
    return Table(
        "leases",
        metadata,
        *_unit_columns(),
        _column("holder", Uuid(as_uuid=False), "The run that holds the unit; null when free."),
        _column("expires_at", _INSTANT, "When another run may take the unit over.", False),
        _column(
            "run_file",
            Text(),
            "File that the holder keeps locked while it lives; null when there is none.",
        ),
        PrimaryKeyConstraint("project_id", "stream", "unit", name="leases_pkey"),
        schema=schema,
        comment="Which run works on a unit, and until when; renewed while the run works.",
    )


def _checkpoints(metadata: MetaData, schema: str) -> Table:
    return Table(
        "checkpoints",
        metadata,
        *_unit_columns(),
        _column(
            "fence",
            BigInteger(),
            "Number under which a run may commit; each run gets a higher one.",
            False,
        ),
        _column("batch", BigInteger(), "Batches committed under this fence, a count.", False),
        _column("position", JSONB(), "Place from which an unfinished reading goes on, or null."),
        _column("updated_at", _INSTANT, "When the row last changed.", False),
        PrimaryKeyConstraint("project_id", "stream", "unit", name="checkpoints_pkey"),
        schema=schema,
        comment="Where an unfinished reading of a unit goes on; commits with the rows read so far.",
    )


def _watermarks(metadata: MetaData, schema: str) -> Table:
    return Table(
        "watermarks",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("stream", Text(), _STREAM, False),
        _column("complete", TSTZMULTIRANGE(), "Stretches of time known complete.", False),
        _column(
            "tail_until", _INSTANT, "Where the next sync begins; null before the first one ends."
        ),
        _column("swept", JSONB(), "When each grade of the lookback was last read, by age in s."),
        _column("traits", JSONB(), "What the server was found to do, as JSON."),
        _column("updated_at", _INSTANT, "When the row last changed.", False),
        PrimaryKeyConstraint("project_id", "stream", name="watermarks_pkey"),
        schema=schema,
        comment="Which stretches of time are known complete; changes only when a window closes.",
    )


def _runs(metadata: MetaData, schema: str) -> Table:
    return Table(
        "runs",
        metadata,
        _column("id", Uuid(as_uuid=False), "Id of the run.", False),
        _column("command", Text(), "sync, backfill, resync, verify or rejects retry.", False),
        *_unit_columns(),
        _column("status", Text(), "running, succeeded, partial, paused or failed.", False),
        _column("reason", Text(), "Why it did not succeed, in one line."),
        _column("started_at", _INSTANT, "Start of the run.", False),
        _column("ended_at", _INSTANT, "End of the run; null while it runs."),
        _column("paused_until", _INSTANT, "When the budget allows the next request."),
        _column("records_read", BigInteger(), "Records received, a count.", False),
        _column("rows_inserted", BigInteger(), "Rows inserted, a count over all tables.", False),
        _column("rows_updated", BigInteger(), "Rows changed, a count over all tables.", False),
        _column("rejected", BigInteger(), "Records newly rejected, a count.", False),
        _column("requests", BigInteger(), "Requests sent, a count.", False),
        _column("bytes_read", BigInteger(), "Size of the answers, in bytes.", False),
        Column(
            "waited_s",
            Double(),
            nullable=False,
            server_default=text("0"),
            comment="Time waited for limits, a place among the queries or a source that does not "
            "answer, in seconds; without a wait under way.",
        ),
        _column("forecast_requests", BigInteger(), "Requests forecast at the start, a count."),
        _column(
            "forecast_exact",
            Boolean(),
            "True if the forecast is an estimate, false if a lower bound.",
        ),
        Column(
            "records_read_fast",
            BigInteger(),
            nullable=False,
            server_default=text("0"),
            comment="Records typed from their bytes, a count; 0 in streams whose records never "
            "are.",
        ),
        _column("query_bytes_read", BigInteger(), "Bytes the server read for queries; null: none."),
        _column(
            "query_bytes_left",
            BigInteger(),
            "Bytes that the server's budget for queries had left; null where it does not say.",
        ),
        _column("waiting_for", Text(), "What the run waits for; null: for nothing."),
        _column("waiting_since", _INSTANT, "When this wait began."),
        _column("waiting_until", _INSTANT, "When it ends; null: nobody knows."),
        _column(
            "fault",
            Text(),
            "What is at fault if it did not succeed: key, unavailable (to this key), source, "
            "database, defect, died, stopped, withheld (deletions), rejects; null: none of these.",
        ),
        _column(
            "complete_until",
            _INSTANT,
            "Up to when the stream was known complete at the end of the run; null: not known.",
        ),
        PrimaryKeyConstraint("id", name="runs_pkey"),
        Index("runs_by_unit", "project_id", "stream", "unit", "started_at"),
        Index("runs_by_start", "started_at", "id"),
        schema=schema,
        comment="One row per execution of a unit.",
    )


def _rejects(metadata: MetaData, schema: str) -> Table:
    return Table(
        "rejects",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("stream", Text(), _STREAM, False),
        _column("record_key", Text(), "Key of the record, or a hash of its content.", False),
        _column("reason", Text(), "Why it could not be stored, in one line.", False),
        _column(
            "payload", JSONB(), "The record as received; what Postgres cannot hold is replaced."
        ),
        _column("first_seen_at", _INSTANT, "When it was first rejected.", False),
        _column("last_seen_at", _INSTANT, "When it was last rejected with this content.", False),
        _column("resolved_at", _INSTANT, "When it was loaded after all; null until then."),
        _column("table_name", Text(), "Data table of such records; null if it is not known."),
        PrimaryKeyConstraint("project_id", "stream", "record_key", name="rejects_pkey"),
        Index(
            "rejects_unresolved",
            "project_id",
            "stream",
            "record_key",
            postgresql_where=text("resolved_at IS NULL"),
        ),
        schema=schema,
        comment="Records that could not be stored; `posthog-etl rejects` lists them.",
    )


def _drift(metadata: MetaData, schema: str) -> Table:
    return Table(
        "drift",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("stream", Text(), _STREAM, False),
        _column("table_name", Text(), "Data table that the field belongs to.", False),
        _column("field", Text(), "Name of the field, cut to 200 characters.", False),
        _column("expected", Text(), "JSON type in the catalogue; null: it has no such field."),
        _column("found", Text(), "JSON type that came first.", False),
        _column("first_seen_at", _INSTANT, "When it was first seen.", False),
        PrimaryKeyConstraint("project_id", "stream", "table_name", "field", name="drift_pkey"),
        schema=schema,
        comment="Fields and types that the catalogue did not expect; no values.",
    )


def _suspects(metadata: MetaData, schema: str) -> Table:
    # Unlogged: a crash of the server empties it. Lost suspects mean only that less is marked
    # deleted.
    return Table(
        "suspects",
        metadata,
        *_unit_columns(),
        _column(
            "record_key", Text(), "Key of a stored record that the reading did not show.", False
        ),
        PrimaryKeyConstraint("project_id", "stream", "unit", "record_key", name="suspects_pkey"),
        schema=schema,
        prefixes=["UNLOGGED"],
        comment="Stored records that a reading did not show; each is deleted once it is judged.",
    )


def _sightings(metadata: MetaData, schema: str) -> Table:
    # Unlogged: it is written only while two runs read one stream at once.
    return Table(
        "sightings",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("table_name", Text(), "Data table of the row.", False),
        _column("row_key", Text(), "Key of the row.", False),
        _column("observed_at", _INSTANT, "When the row was last seen unchanged.", False),
        PrimaryKeyConstraint("project_id", "table_name", "row_key", name="sightings_pkey"),
        schema=schema,
        prefixes=["UNLOGGED"],
        comment="Rows that were seen unchanged while another run read the same stream.",
    )


def _cuts(metadata: MetaData, schema: str) -> Table:
    return Table(
        "cuts",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("stream", Text(), _STREAM, False),
        _column("record_key", Text(), "Key of the record.", False),
        _column("seen", Text(), "Hash of the cut record as received.", False),
        _column("owed", Boolean(), "Whether it must still be asked for by its key.", False),
        _column("noted_at", _INSTANT, "When this cut record was first received.", False),
        PrimaryKeyConstraint("project_id", "stream", "record_key", name="cuts_pkey"),
        schema=schema,
        comment="Records cut by the dates of a request; their stored rows were left unchanged.",
    )


def _checks(metadata: MetaData, schema: str) -> Table:
    return Table(
        "checks",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("stream", Text(), _STREAM, False),
        _column("record_key", Text(), "Key of the record that was checked.", False),
        _column("checked_at", _INSTANT, "When it was last checked; null before the first check."),
        _column("tried_at", _INSTANT, "When a check last failed; the record stays due."),
        PrimaryKeyConstraint("project_id", "stream", "record_key", name="checks_pkey"),
        schema=schema,
        comment="When each resource of a rotation, and each suspect, was last checked.",
    )


def _hosts(metadata: MetaData, schema: str) -> Table:
    return Table(
        "hosts",
        metadata,
        _column("host", Text(), "Address of the source, as POSTHOG_HOST gives it.", False),
        _column("since", _INSTANT, "When a run first read from this address.", False),
        PrimaryKeyConstraint("host", name="hosts_pkey"),
        schema=schema,
        comment="The source of this deployment: one server, under one address or several.",
    )


def _requests(metadata: MetaData, schema: str) -> Table:
    return Table(
        "requests",
        metadata,
        _column("class", Text(), "Budget class the request drew from.", False),
        _column("at", _INSTANT, "When it was allowed to be sent.", False),
        Index("requests_by_class", "class", "at"),
        schema=schema,
        comment="Requests of the last two hours, for all processes that share this database.",
    )


def _request_blocks(metadata: MetaData, schema: str) -> Table:
    return Table(
        "request_blocks",
        metadata,
        _column("class", Text(), "Budget class.", False),
        _column("blocked_until", _INSTANT, "No request of the class is sent before this.", False),
        PrimaryKeyConstraint("class", name="request_blocks_pkey"),
        schema=schema,
        comment="How long the server's last 429 said to wait, for all processes of this database.",
    )


def _query_slots(metadata: MetaData, schema: str) -> Table:
    return Table(
        "query_slots",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("place", BigInteger(), "Number of the place, from 1.", False),
        _column("holder", Uuid(as_uuid=False), "The query that holds it; null when free."),
        _column("expires_at", _INSTANT, "When another query may take it over.", False),
        PrimaryKeyConstraint("project_id", "place", name="query_slots_pkey"),
        schema=schema,
        comment="The queries of a project that run now, for all processes of this database.",
    )


def _schedules(metadata: MetaData, schema: str) -> Table:
    return Table(
        "schedules",
        metadata,
        _column("name", Text(), "Name of the schedule; `:prune` is the daily cleaning.", False),
        _column("ticked_at", _INSTANT, "The latest tick that was started or skipped.", False),
        _column(
            "holder", Uuid(as_uuid=False), "The `serve` that works on the tick; null if none does."
        ),
        _column("expires_at", _INSTANT, "When another `serve` may take it over.", False),
        PrimaryKeyConstraint("name", name="schedules_pkey"),
        schema=schema,
        comment="The latest tick of each schedule, for all `serve` processes of this database.",
    )


def _differences(metadata: MetaData, schema: str) -> Table:
    return Table(
        "differences",
        metadata,
        *_unit_columns(),
        _column("table_name", Text(), "Data table of the row.", False),
        _column("row_key", Text(), "Key of the row.", False),
        _column("record_key", Text(), "Key of the record that the row comes from.", False),
        _column(
            "kind",
            Text(),
            "missing: not stored; surplus: not at the source; different: stored otherwise; "
            "expired: past its time, and not marked yet.",
            False,
        ),
        _column("started", _INSTANT, "The instant by which windows are cut, if the row has one."),
        _column(
            "only_fills",
            Boolean(),
            "Whether it differs only in fields that are null here and not at the source.",
            False,
        ),
        _column("confirmed", Boolean(), "Whether it was found again when asked for by key.", False),
        Column(
            "filled",
            ARRAY(Text()),
            nullable=False,
            server_default=text("'{}'"),
            comment="Fields that the list fills and the answer for one record may leave null.",
        ),
        PrimaryKeyConstraint(
            "project_id", "stream", "unit", "table_name", "row_key", name="differences_pkey"
        ),
        Index("differences_by_record", "project_id", "stream", "unit", "record_key"),
        schema=schema,
        comment="What the latest `verify` of a stream found; keys only, no content.",
    )


def _reconciliations(metadata: MetaData, schema: str) -> Table:
    return Table(
        "reconciliations",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("stream", Text(), _STREAM, False),
        _column("table_name", Text(), "Data table that was compared.", False),
        _column("since", _INSTANT, "Start of the window; null if the stream has no windows."),
        _column("until", _INSTANT, "End of the window; null if the stream has no windows."),
        _column(
            "how",
            Text(),
            "ids: keys were compared; digest: number and digest of the keys; contents: rows; "
            "sample: some rows.",
            False,
        ),
        _column(
            "source_count",
            BigInteger(),
            "Records that the source showed; null for a table that it does not count.",
        ),
        _column("destination_count", BigInteger(), "Records stored and not gone; null likewise."),
        _column("missing", BigInteger(), "Rows at the source that were not stored.", False),
        _column("surplus", BigInteger(), "Stored rows that the source does not have.", False),
        _column("different", BigInteger(), "Rows that were stored otherwise.", False),
        _column("checked_at", _INSTANT, "When they were compared.", False),
        _column("repaired_at", _INSTANT, "When `--repair` had made them equal; null otherwise."),
        Index("reconciliations_by_stream", "project_id", "stream", "checked_at"),
        schema=schema,
        comment="What `verify` has found: one row per table and window of each comparison.",
    )


def _explained_days(metadata: MetaData, schema: str) -> Table:
    return Table(
        "explained_days",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("stream", Text(), _STREAM, False),
        _column("since", _INSTANT, "Start of the day, or of the part of it that is known.", False),
        _column("until", _INSTANT, "End of it.", False),
        _column("source_count", BigInteger(), "Records at the source, hidden ones too.", False),
        _column("source_digest", Text(), "Digest of their ids.", False),
        _column("destination_count", BigInteger(), "Records stored and not gone.", False),
        _column("destination_digest", Text(), "Digest of their ids.", False),
        _column("explained_at", _INSTANT, "When the list showed what is stored.", False),
        PrimaryKeyConstraint("project_id", "stream", "since", name="explained_days_pkey"),
        schema=schema,
        comment="Days of which the list shows what is stored, though a query of the source counts "
        "what the list hides. Not looked into again as long as both digests stay the same.",
    )


def _growing_lists(metadata: MetaData, schema: str) -> Table:
    return Table(
        "growing_lists",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("stream", Text(), _STREAM, False),
        _column(
            "parent",
            Text(),
            "Key of the row that the list belongs to; empty if the stream has one list.",
            False,
        ),
        _column(
            "read_until",
            _INSTANT,
            "Every row that was added before this instant is stored.",
            False,
        ),
        _column("page_rows", BigInteger(), "The most rows that one answer had, a count.", False),
        PrimaryKeyConstraint("project_id", "stream", "parent", name="growing_lists_pkey"),
        schema=schema,
        comment="How far each list that only grows was read; a sync goes on from there.",
    )


def _parent_lists(metadata: MetaData, schema: str) -> Table:
    return Table(
        "parent_lists",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column("stream", Text(), _STREAM, False),
        _column("parent", Text(), "Key of the row that the lists belong to.", False),
        _column(
            "state",
            Text(),
            "What tells whether the lists have changed, as a JSON array, as it was before they "
            "were read; null if the source does not say.",
        ),
        _column("pages", BigInteger(), "Answers that all of the lists took last, a count."),
        _column("whole", Boolean(), "Whether all of the lists was read in this state.", False),
        _column(
            "settled",
            Boolean(),
            "Whether what they did not show was judged, too. If so, a sync leaves them out as long "
            "as the state stays the same.",
            False,
        ),
        PrimaryKeyConstraint("project_id", "stream", "parent", name="parent_lists_pkey"),
        schema=schema,
        comment="Of lists that each belong to a row: in which state of that row they were read.",
    )


def _forgotten(metadata: MetaData, schema: str) -> Table:
    return Table(
        "forgotten",
        metadata,
        _column("project_id", BigInteger(), _PROJECT, False),
        _column(
            "hash",
            LargeBinary(),
            "Keyed hash (HMAC-SHA256) of a uuid, a distinct id or a recording id.",
            False,
        ),
        _column("key_id", Text(), "Which key the hash was made with; tells nothing of it.", False),
        _column("added_at", _INSTANT, "When it was added.", False),
        PrimaryKeyConstraint("project_id", "hash", name="forgotten_pkey"),
        schema=schema,
        comment="Whom `posthog-etl forget` keeps away from later loads; no personal data.",
    )


def _forget_key(metadata: MetaData, schema: str) -> Table:
    return Table(
        "forget_key",
        metadata,
        _column("key", LargeBinary(), "The key; 32 random bytes.", False),
        _column("made_at", _INSTANT, "When it was made.", False),
        schema=schema,
        comment="Key of the hashes in `forgotten` if POSTHOG_ETL_FORGET_KEY is not set; at most "
        "one row, which only the owner of the table may read.",
    )


def _audit(metadata: MetaData, schema: str) -> Table:
    return Table(
        "audit",
        metadata,
        _column("at", _INSTANT, "When it was done.", False),
        _column("command", Text(), "forget, remove or migrate.", False),
        _column("project_id", BigInteger(), f"{_PROJECT[:-1]}; null if it concerns all."),
        _column("rows", JSONB(), "By table, how many rows were deleted or changed.", False),
        schema=schema,
        comment="What commands that destroy data have done; no personal data.",
    )


def _alerts(metadata: MetaData, schema: str) -> Table:
    return Table(
        "alerts",
        metadata,
        _column("id", Uuid(as_uuid=False), "Id of the alert.", False),
        _column("project_id", BigInteger(), _PROJECT_OR_NONE, False),
        _column("stream", Text(), _STREAM, False),
        _column(
            "kind",
            Text(),
            "failed, partial, stale, rejects, withheld, differences or drift.",
            False,
        ),
        _column("subject", Text(), "TABLE.FIELD of a drift; empty for other kinds.", False),
        _column("detail", Text(), "What is told of it, in one line; no personal data.", False),
        _column("began_at", _INSTANT, "When it was first found.", False),
        _column("ended_at", _INSTANT, "When it was found over; null while it is open."),
        _column(
            "unwatched", Boolean(), "Whether it ended because the settings leave it out now.", False
        ),
        PrimaryKeyConstraint("id", name="alerts_pkey"),
        Index(
            "alerts_open",
            *("project_id", "stream", "kind", "subject"),
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
        schema=schema,
        comment="What needs somebody's attention, and what did until everyone was told of its end.",
    )


def _alert_messages(metadata: MetaData, schema: str) -> Table:
    return Table(
        "alert_messages",
        metadata,
        _column("project_id", BigInteger(), _PROJECT_OR_NONE, False),
        _column("alert_id", Uuid(as_uuid=False), "Id of the alert.", False),
        _column("channel", Text(), "webhook or email.", False),
        _column("event", Text(), "began or ended.", False),
        _column(
            "holder", Uuid(as_uuid=False), "Which process is telling it; null: none, or it is told."
        ),
        _column("expires_at", _INSTANT, "Until when that process may take."),
        _column("tried", Boolean(), "Whether it may have been told already.", False),
        _column("told_at", _INSTANT, "When it was told; null until then."),
        PrimaryKeyConstraint("alert_id", "channel", "event", name="alert_messages_pkey"),
        schema=schema,
        comment="What is told of each alert by each channel.",
    )


def _watched_streams(metadata: MetaData, schema: str) -> Table:
    return Table(
        "watched_streams",
        metadata,
        _column("project_id", BigInteger(), _PROJECT_OR_NONE, False),
        _column("stream", Text(), _STREAM, False),
        _column("since", _INSTANT, "When its success was first waited for.", False),
        PrimaryKeyConstraint("project_id", "stream", name="watched_streams_pkey"),
        schema=schema,
        comment="Streams that are to succeed again and again: one that never did is stale, too.",
    )


def _unit_columns() -> Iterable[Column[Any]]:
    yield _column("project_id", BigInteger(), _PROJECT, False)
    yield _column("stream", Text(), _STREAM, False)
    yield _column("unit", Text(), _UNIT, False)


def _column(name: str, kind: TypeEngine[Any], comment: str, nullable: bool = True) -> Column[Any]:
    return Column(name, kind, nullable=nullable, comment=comment)


_BOOKKEEPING: Mapping[str, Callable[[MetaData, str], Table]] = {
    "leases": _leases,
    "checkpoints": _checkpoints,
    "watermarks": _watermarks,
    "runs": _runs,
    "rejects": _rejects,
    "drift": _drift,
    "suspects": _suspects,
    "sightings": _sightings,
    "cuts": _cuts,
    "checks": _checks,
    "hosts": _hosts,
    "requests": _requests,
    "request_blocks": _request_blocks,
    "query_slots": _query_slots,
    "schedules": _schedules,
    "differences": _differences,
    "reconciliations": _reconciliations,
    "explained_days": _explained_days,
    "growing_lists": _growing_lists,
    "parent_lists": _parent_lists,
    "forgotten": _forgotten,
    "forget_key": _forget_key,
    "audit": _audit,
    "alerts": _alerts,
    "alert_messages": _alert_messages,
    "watched_streams": _watched_streams,
}
