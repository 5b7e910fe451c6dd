"""What is done to a copy apart from loading: verify, repair, forget, remove, migrate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from etl.app import (
    EMBEDDED,
    Destination,
    Schema,
    open_destination,
    open_source,
    open_source_for,
    run_options_of,
    streams_at_once,
)
from etl.core.stream import Resource, Stream
from etl.errors import EXIT_FAILED, EXIT_SUCCEEDED, ConfigurationError
from etl.extractors.capped import SHARE, Cap
from etl.loaders.forgotten import Forgotten
from etl.runs.projects import for_each
from etl.runs.report import Report
from etl.runs.work import Assignment, Tools, Watch
from etl.settings import Settings

if TYPE_CHECKING:  # imported where they are used: the service needs some of them only
    from etl.loaders.sql import Answer
    from etl.runs.comparing import Request
    from etl.runs.removal import Removed
    from etl.runs.slices import Pace


class Verification(Struct, frozen=True):
    """What is to be verified.

    deep: contents, too. since, until: the time of recordings; None: all that is known complete.
    repair: load again what differs. requests: how many may be sent; None: as many as it takes.
    """

    deep: bool = False
    since: datetime | None = None
    until: datetime | None = None
    repair: bool = False
    requests: int | None = None


def _comparable(streams: Sequence[Stream]) -> list[Stream]:
    """Return the streams that are compared. Raises ConfigurationError if only queries are named."""
    found = [stream for stream in streams if stream.query is None]
    if streams and not found:
        refuse_queries(streams)
    return found


def refuse_queries(streams: Sequence[Stream]) -> None:
    """Raise ConfigurationError if one of the streams is a query."""
    for stream in streams:
        if stream.query is not None:
            raise ConfigurationError(
                f"{stream.name} is a query, and there is no list to compare it with",
                remedy=f"`posthog-etl resync {stream.name}` reads all of it anew",
            )


async def verify(
    settings: Settings,
    streams: Sequence[Stream],
    asked: Verification,
    stop: asyncio.Event,
    watch: Watch,
) -> list[Report]:
    """Compare source and destination; one report per stream of each project.

    Safe to repeat: an interrupted comparison goes on. Raises ConfigurationError and
    DestinationError before anything ran.
    """
    from etl.runs.verify import verify_stream

    streams = _comparable(streams)
    at_once = streams_at_once(settings, streams)
    options = run_options_of(settings)
    async with open_source_for(settings, at_once, cap=Cap(asked.requests)) as (destination, tools):
        request = _request_of(destination, settings, asked)

        async def compare(
            tools: Tools, stream: Stream, project_id: int, halt: asyncio.Event
        ) -> list[Report]:
            with watch(project_id, stream.name) as progress:
                given = Assignment(tools, options, stream, project_id, halt, progress)
                return [await verify_stream(given, request, repair=asked.repair)]

        return await for_each(
            tools, settings.host, settings.projects, streams, stop, compare, watch
        )


def _request_of(
    destination: Destination, settings: Settings, asked: Verification, *, slice: bool = False
) -> Request:
    from etl.loaders.comparing import ComparingLoader
    from etl.runs.comparing import Request

    database, tables = destination.database, destination.tables
    forgotten = Forgotten(tables, settings.forget_key_text)

    def comparer(stream: str, resource: Resource) -> ComparingLoader:
        return ComparingLoader(database, tables, stream, resource, forgotten, deep=asked.deep)

    return Request(
        comparer,
        asked.deep,
        asked.since,
        asked.until,
        slice=slice,
        by_query=settings.verify_by_query,
    )


def pace_of(settings: Settings) -> Pace:
    """Return how much of the past is verified under these settings."""
    from etl.runs.slices import Pace

    every = timedelta(days=settings.verify_days)
    return Pace(every, settings.limits_with_share, settings.verify_repair)


async def verify_slices(
    settings: Settings, streams: Sequence[Stream], stop: asyncio.Event, watch: Watch
) -> list[Report]:
    """Verify what has its turn of each stream of every project, one after the other.

    It takes the share of the budget that is for this. Safe to repeat: an interrupted slice goes on.
    Raises ConfigurationError and DestinationError before anything ran.
    """
    from etl.runs.slices import streams_due

    pace, due = pace_of(settings), dict[int, list[Stream]]()
    async with open_source(settings, cap=SHARE) as (destination, tools):

        async def verify_due(
            tools: Tools, stream: Stream, project_id: int, halt: asyncio.Event
        ) -> list[Report]:
            if project_id not in due:
                due[project_id] = await streams_due(tools, streams, project_id, pace)
            if stream not in due[project_id]:
                return []
            options = run_options_of(settings)
            with watch(project_id, stream.name) as progress:
                given = Assignment(tools, options, stream, project_id, halt, progress)
                return await verify_slice_of(destination, settings, given)

        return await for_each(
            [tools], settings.host, settings.projects, streams, stop, verify_due, watch
        )


async def verify_slice_of(
    destination: Destination, settings: Settings, given: Assignment
) -> list[Report]:
    """Verify what has its turn of one stream; see `verify_slice`. Never raises EtlError."""
    from etl.runs.slices import verify_slice

    request = _request_of(destination, settings, Verification(deep=True), slice=True)
    return await verify_slice(given, request, pace_of(settings))


async def forget(
    settings: Settings, person: str, project: int | None, agree: Callable[[str], None]
) -> list[Removed]:
    """Delete what is stored of a person, and keep the person away; see `forget_person`.

    project: only this one. None: all that were ever read or are configured.
    """
    from etl.runs.removal import forget_person

    async with open_destination(settings, Schema.MIGRATED) as destination:
        database, tables = destination.database, destination.tables
        forgotten = Forgotten(tables, settings.forget_key_text)
        configured = [int(each) for each in settings.projects if each.isdigit()]
        only = None if project is None else [project]
        return await forget_person(database, tables, forgotten, person, only, configured, agree)


async def destroyed(settings: Settings, command: str) -> list[dict[str, Any]]:
    """Return what a command has destroyed, the latest first. Raises DestinationError."""
    from etl.loaders import audit

    async with open_destination(settings, Schema.CURRENT) as destination:
        return list(await audit.noted(destination.database, destination.tables, command))


async def remove(settings: Settings, project: int, agree: Callable[[str], None]) -> Removed:
    """Delete everything that is stored of a project; see `remove_project`."""
    from etl.runs.removal import remove_project

    async with open_destination(settings, Schema.MIGRATED) as destination:
        return await remove_project(destination.database, destination.tables, project, agree)


async def migrate_only(
    settings: Settings, revision: str, agree: Callable[[str], None]
) -> tuple[str, str]:
    """Migrate the schema and return the versions before and after. Safe to repeat.

    agree: called with a text about what an older version destroys; raises to prevent it.
    """
    from etl.loaders import audit
    from etl.loaders.fresh import upgrade
    from etl.loaders.migrate import loss_of_migrating, migrate

    async with open_destination(settings) as destination:
        database, tables = destination.database, destination.tables
        lost: Mapping[str, int] = {}
        if revision != "head":
            loss = await loss_of_migrating(database, tables, revision)
            if lost := loss.rows:
                agree(f"Going from {loss.before} to {revision} destroys data: {loss}")
        for attempt in database.attempts():
            async with attempt:
                if revision == "head":
                    versions = await upgrade(database, tables)
                else:
                    versions = await migrate(database, tables, revision)
        if lost:
            await audit.note_if_kept(database, tables, "migrate", lost)
    return versions


async def run_sql(settings: Settings, statement: str) -> Answer:
    """Execute one statement of a person. Raises ConfigurationError and DestinationError."""
    from etl.loaders.sql import run_statement

    async with open_destination(settings) as destination:
        return await run_statement(destination.database, statement)


async def run_psql(
    settings: Settings, meanwhile: Callable[[], AbstractContextManager[None]]
) -> int:
    """Run psql until its user leaves; return our exit code.

    meanwhile: opened while psql runs. Raises ConfigurationError if there is no psql, and
    DestinationError.
    """
    from etl.loaders.psql import find_psql, run_psql

    async with open_destination(settings) as destination:
        embedded = settings.require_database() == EMBEDDED
        program = await asyncio.to_thread(find_psql, embedded=embedded)
        if program is None:
            raise ConfigurationError(
                "There is no psql on this machine",
                remedy="Install it, or give one statement: posthog-etl sql 'SELECT …'",
            )
        # What is wrong with the address is said in our words.
        async with destination.database.transaction():
            pass
        await destination.database.close()
        with meanwhile():
            code = await asyncio.to_thread(run_psql, program, destination.database.address)
    return EXIT_FAILED if code else EXIT_SUCCEEDED
