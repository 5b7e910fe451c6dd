"""What the tests of all streams share: a small source, and how everything is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etl.runs.report import Report
from etl.sandbox.server import RunningSandbox
from etl.streams import STREAMS
from tests.support.sql import select
from tests.support.truth import COMPANIONS, differences_from_truth

# A little of everything. What belongs to the properties of sessions is the same on every server.
SMALL: dict[str, Any] = {
    "recordings": 12,
    "days": 6.0,
    "subscriptions": 14,
    "groups": 12,
    "insights": 9,
    "playlists": 5,
    "secret_keys": 3,
    "others": 6,
    "cohorts": 6,
    "persons": 25,
}
NOTHING: dict[str, Any] = dict.fromkeys(SMALL, 0) | {"days": 6.0, "persons": 1}
# One request a property, and always the same: read where that is the point.
CHANGING = tuple(name for name in STREAMS if name != "session_properties")

# What was done stays stored, also after the source has dropped it.
GROWING = tuple(
    resource.tables[0].name
    for stream in STREAMS.values()
    for resource in stream.resources
    if resource.growth is not None
)


def tables_of(*streams: str) -> list[str]:
    """The tables that these streams fill."""
    return list(dict.fromkeys(t.name for name in streams for t in STREAMS[name].tables))


async def untruths(
    dsn: str, sandbox: RunningSandbox, *streams: str, projects: Sequence[int] = (1,)
) -> list[str]:
    """Every difference from the sandbox's truth in the tables of these streams.

    Users are named by several of them: they are compared where all of those are.
    """
    naming = {name for name in STREAMS if "users" in tables_of(name)}
    tables = [t for t in tables_of(*streams) if t != "users" or naming <= {*streams}]
    mirrored = tables_of("persons") if "persons" in streams else []
    found: list[str] = []
    for project in projects:
        truth = sandbox.control.truth(project)
        if mirrored:
            truth |= await all_persons(dsn, truth, project)
        found += await differences_from_truth(
            dsn,
            truth,
            project=project,
            tables=tables,
            left_over=[t for t in (*COMPANIONS, *GROWING) if t not in mirrored],
        )
    return found


async def all_persons(dsn: str, truth: Mapping[str, Any], project: int) -> dict[str, Any]:
    """The truth about persons where the list of all of them is read, too.

    The list does not tell the numeric id: what a recording has told stays.
    """
    query = "SELECT uuid::text, id FROM posthog.persons WHERE project_id = $1"
    told = {row["uuid"]: row["id"] for row in await select(dsn, query, project)}
    numbers = {row["uuid"]: row["id"] for row in truth["persons"]}
    listed = [
        {**row, "id": numbers.get(row["uuid"], told.get(row["uuid"]))}
        for row in truth["persons_listed"]
    ]
    return {"persons": listed, "person_distinct_ids": truth["distinct_ids_listed"]}


def unshare(sandbox: RunningSandbox) -> None:
    """Switch every sharing off: what is shared is asked about at each sync."""
    for row in sandbox.control.truth_rows("sharing_configurations"):
        if row["enabled"]:
            kind, id = row["resource_type"], row["resource_id"]
            named = {"resource_type": kind, "resource_id": id if kind == "recording" else int(id)}
            sandbox.control.change(put("sharing", **named, enabled=False))


def endings(reports: Sequence[Report]) -> dict[str, str]:
    """How each stream of one project ended, those that succeeded left out."""
    return {
        report.stream: f"{report.ending.status}: {report.ending.reason}"
        for report in reports
        if report.ending.exit_code != 0
    }


async def marked(dsn: str, table: str, key: str = "id") -> set[str]:
    """The keys of the rows that are marked deleted."""
    rows = await select(
        dsn, f'SELECT "{key}"::text AS key FROM posthog."{table}" WHERE _deleted_at IS NOT NULL'
    )
    return {row["key"] for row in rows}


async def let_pass(dsn: str, hours: int) -> None:
    """Let so much time pass for what is asked about in turn, by the database's clock."""
    by = f"interval '{hours} hours'"
    await select(dsn, f"UPDATE posthog_etl.checks SET checked_at = checked_at - {by}")
    for table in ("session_recordings", "insights", "dashboards"):
        await select(
            dsn,
            f"UPDATE posthog.{table} SET _first_seen_at = _first_seen_at - {by}, "
            f"_updated_at = _updated_at - {by}",
        )


def asked(sandbox: RunningSandbox, part: str, without: str = "\0") -> list[dict[str, Any]]:
    """The requests since the last reset whose path holds `part`, oldest first."""
    return [
        request
        for request in sandbox.control.requests()
        if part in request["path"] and without not in request["path"]
    ]


def put(kind: str, **fields: Any) -> dict[str, Any]:
    """The operation that makes or changes a record at the source."""
    return {"op": "put", "kind": kind, **fields}


def remove(kind: str, **key: Any) -> dict[str, Any]:
    """The operation that takes a record away for good."""
    return {"op": "remove", "kind": kind, **key}
