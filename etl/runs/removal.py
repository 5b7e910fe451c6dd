"""Remove a person or a project: count what would go, ask, and do it.

Nothing is asked of PostHog, and nothing is deleted there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

import structlog
from msgspec import Struct

from etl.core.identity import Identifier, Names, is_shared
from etl.errors import ConfigurationError, LeaseHeld
from etl.loaders import audit
from etl.loaders.database import Database
from etl.loaders.erasing import PersonRows, Stored
from etl.loaders.forgotten import Forgotten
from etl.loaders.fresh import PATIENT
from etl.loaders.project_rows import ProjectRows, known_projects
from etl.loaders.query_tables import tables_there
from etl.loaders.tables import Tables

_log = structlog.get_logger(__name__)

# Is called with what would be destroyed; raises to prevent it.
Agree = Callable[[str], None]
_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


class Removed(Struct, frozen=True):
    """What was removed of a project.

    rows: by table, a count. kept_away: by what they name, how many identifiers stay away from later
    loads. unsearched: the tables of queries of which no column says whose a row is.
    """

    project: int
    rows: Mapping[str, int]
    kept_away: Mapping[str, int] = {}
    unsearched: Sequence[str] = ()


async def forget_person(
    database: Database,
    tables: Tables,
    forgotten: Forgotten,
    person: str,
    only: Collection[int] | None,
    configured: Collection[int],
    agree: Agree,
) -> list[Removed]:
    """Delete what is stored of a person, and keep the person away from later loads.

    person: a uuid or a distinct id. only: these projects; None: all that were ever read, and those
    that are configured. One transaction: it happens as a whole or not at all. Safe to repeat.
    Raises ConfigurationError and DestinationError.
    """
    start = _identifiers(person)
    rows = PersonRows(tables)
    async with database.transaction(PATIENT) as connection:
        await forgotten.known_key(connection)
        known = await known_projects(connection, tables)
        chosen = sorted({*known, *configured} if only is None else only)
        found = [await rows.find(connection, each, start) for each in chosen]
        already = [each for each in chosen if await forgotten.has(connection, each, start)]
        queried = await tables_there(connection, tables)
    unsearched = [f"{tables.queried.schema}.{t.name}" for t in queried if not t.identities]
    if not chosen:
        raise ConfigurationError(
            "No project was read yet, and none is configured by its id",
            remedy="Name it with --project ID",
        )
    agree(_in_words(dict(zip(chosen, found, strict=True)), already))
    for attempt in database.attempts():
        async with attempt, database.transaction(PATIENT) as connection:
            await forgotten.lock(connection)
            key = await forgotten.key(connection)
            removed = []
            for project_id, before in zip(chosen, found, strict=True):
                stored = await rows.erase(connection, project_id, before.identifiers)
                await forgotten.add(connection, project_id, stored.identifiers, key)
                await audit.note(connection, tables, "forget", project_id, stored.rows)
                counts = _counts(stored.identifiers)
                removed.append(Removed(project_id, stored.rows, counts, unsearched))
    _log.info("person.forgotten", rows=sum(sum(each.rows.values()) for each in removed))
    return removed


async def remove_project(
    database: Database, tables: Tables, project_id: int, agree: Agree
) -> Removed:
    """Delete everything that is stored of a project; see `ProjectRows`.

    In many transactions: if it is interrupted, the next call goes on. Raises ConfigurationError,
    LeaseHeld and DestinationError.
    """
    rows = ProjectRows(tables, project_id)
    async with database.transaction(PATIENT) as connection:
        counts, busy = await rows.count(connection), await rows.has_runs(connection)
    if not counts:
        raise ConfigurationError(
            f"The database holds nothing of project {project_id}",
            remedy="`posthog-etl status` lists the projects",
        )
    if busy:
        raise LeaseHeld(
            f"A run works on project {project_id}",
            remedy="Wait for its end, or stop it, and take the project out of POSTHOG_PROJECT_ID",
        )
    agree(f"Removing project {project_id} destroys data: {_listed(counts)}")
    more = True
    while more:
        for attempt in database.attempts():
            async with attempt, database.transaction() as connection:
                more = await rows.delete_some(connection) > 0
    for attempt in database.attempts():
        async with attempt, database.transaction(PATIENT) as connection:
            await rows.delete_rest(connection)
            await audit.note(connection, tables, "remove", project_id, counts)
    _log.info("project.removed", rows=sum(counts.values()))
    return Removed(project_id, counts)


def _identifiers(person: str) -> set[Identifier]:
    """Return what a person may be stored as. Raises ConfigurationError."""
    text = person
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError("The name of the person is not valid UTF-8") from None
    if is_shared((Names.DISTINCT_ID, text)):
        raise ConfigurationError(
            f"{text!r} names no person: PostHog lets many people share this distinct id",
            remedy="Name the person by uuid, or by another distinct id",
        )
    if "\0" in text:
        raise ConfigurationError("A distinct id holds no NUL")
    found = {(Names.DISTINCT_ID, text)}
    if _UUID.fullmatch(text):
        found.add((Names.PERSON, str(UUID(text))))
    return found


def _counts(identifiers: Collection[Identifier]) -> Mapping[str, int]:
    counts = dict.fromkeys((names.value for names in Names), 0)
    for names, _ in identifiers:
        counts[names.value] += 1
    return counts


def _in_words(found: Mapping[int, Stored], already: Sequence[int]) -> str:
    """Say what forgetting destroys in which project, and how many persons it reaches.

    already: the projects in which the person was forgotten before.
    """
    said = []
    for project_id, stored in found.items():
        persons = sum(names is Names.PERSON for names, _ in stored.identifiers)
        who = f" ({persons} uuids)" if persons > 1 else ""
        if stored.rows:
            said.append(f"Project {project_id}{who}: {_listed(stored.rows)}")
    if not said and already:
        where = ", ".join(map(str, already))
        others = [str(each) for each in found if each not in already]
        more = f". Forgetting adds project {', '.join(others)}" if others else ""
        return f"This person was forgotten already in project {where}, and nothing is stored{more}"
    if not said:
        return "Nothing is stored of this person. Forgetting keeps the person away from later loads"
    return f"Forgetting this person deletes or clears rows. {'. '.join(said)}"


def _listed(counts: Mapping[str, int]) -> str:
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} in {name}" for name, count in most_first)
