"""`check`: examine everything a sync needs; say what is wrong and what to do about it.

Writes nothing. Sends at most three requests per project and two per stream.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from etl.core.budget import CRUD
from etl.core.clocks import TOLERANCE
from etl.core.query import no_rows_query, table_of
from etl.core.source import refuse_other_source
from etl.core.stream import Mode, Resource, Stream
from etl.core.walk import Ask
from etl.core.window import Window
from etl.errors import (
    EXIT_FAILED,
    EXIT_PARTIAL,
    EXIT_SUCCEEDED,
    ConfigurationError,
    EtlError,
    RequestRefused,
    SourceError,
    StreamUnavailable,
)
from etl.extractors.client import Client
from etl.extractors.projects import project_id_of
from etl.extractors.protocol import (
    CHECK_PROJECT,
    Answer,
    Request,
    is_record_closed,
    is_record_gone,
    list_request,
    page_request,
    parse_list,
    parse_object,
    parse_page,
)
from etl.extractors.query_protocol import Query, query_request, read_state
from etl.extractors.single import is_of_project, project_not_listed
from etl.loaders.database import Database
from etl.loaders.history import History
from etl.loaders.tables import Tables
from etl.loaders.version import is_current

ATTEMPTS = 2
# In seconds. A longer wait is reported instead.
MAX_WAIT_S = 5.0
# So many records are asked for of a list of several projects, a count.
PROJECTS_ASKED = 100
_ADD_SCOPE = "Add the scope"


class Finding(Struct, frozen=True):
    """The result of one check.

    about: what was examined.
    well: whether it is in order.
    said: what was found, in words.
    exit_code: the exit code of the command if it is not in order.
    scope: the scopes that the key needs for it, with a space between.
    """

    about: str
    well: bool
    said: str
    exit_code: int = EXIT_SUCCEEDED
    scope: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {"about": self.about, "ok": self.well, "scope": self.scope, "found": self.said}


def next_steps(findings: Sequence[Finding], with_settings: str = "") -> list[str]:
    """Return what to do after these findings, in sentences.

    with_settings: the options by which the commands find the same settings.
    """
    sync, again = f"posthog-etl sync{with_settings}", f"posthog-etl check{with_settings}"
    wrong = [finding for finding in findings if not finding.well]
    if not wrong:
        return [f"All is well. Next: {sync}"]
    # A stream has a scope; all else that is wrong stops every stream.
    first = next((finding for finding in wrong if finding.scope is None), None)
    if first is not None:
        return [f"Next: put right what is marked no, first {first.about}. Then: {again}"]
    if nowhere := _not_there(findings):
        projects = f"project{'s' if len(nowhere) > 1 else ''} {', '.join(nowhere)}"
        return [
            "Next: correct POSTHOG_PROJECT_ID, or give the key access, because PostHog shows it "
            f"nothing of {projects}. Then: {again}"
        ]
    names = list(dict.fromkeys(finding.about.partition(" ")[0] for finding in wrong))
    lacking = (f.scope or "" for f in wrong if f.said.startswith(_ADD_SCOPE))
    scopes = list(dict.fromkeys(scope for each in lacking for scope in each.split()))
    steps = []
    if scopes:
        what = "scope" if len(scopes) == 1 else "scopes"
        steps.append(
            f"Next: add the {what} {', '.join(scopes)} to the key, at PostHog under Settings, "
            f"Personal API keys. Then: {again}"
        )
    if any(finding.well and finding.scope is not None for finding in findings):
        steps.append(f"The other streams can be read now: {sync}")
    steps.append(
        f"To do without a stream, switch it off: POSTHOG_ETL_DISABLED_STREAMS={','.join(names)}"
    )
    return steps


def _not_there(findings: Sequence[Finding]) -> list[str]:
    """Return the projects that the server does not have for this key."""
    by_project: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.scope is not None:
            by_project.setdefault(finding.about.partition(" ")[2].strip("()"), []).append(finding)
    return [
        project
        for project, found in by_project.items()
        if not any(each.well for each in found)
        and any(CHECK_PROJECT in each.said for each in found)
    ]


class NoBudget:
    """The budget if there is no database to count requests in; `check` sends only a few."""

    async def acquire(self, classes: Sequence[str]) -> None:
        """Let the request go."""

    async def block(self, classes: Sequence[str], seconds: float) -> None:
        """Wait here, because nothing is stored. Does not wait if it is longer than MAX_WAIT_S."""
        if seconds <= MAX_WAIT_S:
            await asyncio.sleep(seconds)


def failed_finding(about: str, exc: EtlError) -> Finding:
    """Return the finding for an error."""
    return Finding(about, False, str(exc), exc.exit_code)


def examine_required(required: Mapping[str, Callable[[], object]]) -> list[Finding]:
    """Return a finding for each required setting that is missing or wrong.

    required: what the setting is for, and what raises ConfigurationError when it is missing.
    """
    findings = []
    for about, read in required.items():
        try:
            read()
        except ConfigurationError as exc:
            findings.append(failed_finding(about, exc))
    return findings


async def examine_schema(
    database: Database, tables: Tables, *, auto_migrate: bool
) -> tuple[Finding, bool]:
    """Return whether a sync finds its tables, or makes them; and whether they are there now.

    Raises DestinationError.
    """
    if await is_current(database, tables):
        return Finding("schema", True, f"{tables.schema}, up to date"), True
    if auto_migrate and await History(database, tables).may_create():
        said = "not there or not up to date; the next sync migrates it"
        return Finding("schema", True, said), False
    said = (
        "Not up to date, and this role may not change it. Run `posthog-etl migrate` with a role "
        "that may create schemas"
    )
    return Finding("schema", False, said, EXIT_FAILED), False


def examine_hosts(host: str, known: Sequence[str]) -> list[Finding]:
    """Return a finding when the database holds, or may hold, the data of another server."""
    try:
        doubt = refuse_other_source(host, known)
    except EtlError as exc:
        return [failed_finding("source", exc)]
    return [] if doubt is None else [Finding("source", True, doubt)]


async def examine_source(
    client: Client, projects: Sequence[str], streams: Sequence[Stream], prefix: str
) -> list[Finding]:
    """Return what is found of key, clocks, projects and streams; only of the key when refused."""
    key, scopes = await examine_key(client)
    findings = [key]
    if not key.well:
        return findings
    findings.append(examine_clock(client))
    for project in projects:
        try:
            project_id = await project_id_of(client, project)
        except EtlError as exc:
            findings.append(failed_finding(f"project {project}", exc))
            continue
        for stream in streams:
            findings.append(await examine_stream(client, stream, project_id, prefix, scopes))
    return findings


async def examine_key(client: Client) -> tuple[Finding, Sequence[str] | None]:
    """Return whether the key is accepted, and its scopes if the server tells them.

    Older servers do not have `GET /api/personal_api_keys/@current`. Then only the streams show what
    the key may read. Raises BudgetSpent and DestinationError.
    """
    try:
        answer = await client.fetch(
            Request("/api/personal_api_keys/@current/", (), (CRUD,)), attempts=ATTEMPTS
        )
        scopes = parse_object(answer.body).get("scopes")
    except SourceError as exc:
        if isinstance(exc, StreamUnavailable):
            return Finding("key", True, "the server does not tell its scopes"), None
        return failed_finding("key", exc), None
    if not isinstance(scopes, list):
        return Finding("key", True, "accepted, with every scope"), None
    return Finding("key", True, f"accepted; scopes: {', '.join(map(str, scopes))}"), scopes


def examine_clock(client: Client) -> Finding:
    """Return whether the clocks of the database, this machine and the server agree."""
    clocks = client.clocks
    if clocks.agreed is None:
        said = f"No two clocks agree: {clocks}. Set them right; until then every sync is partial"
        return Finding("clocks", False, said, EXIT_PARTIAL)
    apart = clocks.latest - clocks.earliest
    if apart <= TOLERANCE:
        return Finding("clocks", True, f"within {apart.total_seconds():.0f} s of each other")
    return Finding("clocks", True, f"{clocks}; syncs go by the two that agree")


async def examine_stream(
    client: Client,
    stream: Stream,
    project_id: int,
    prefix: str,
    scopes: Sequence[str] | None = None,
) -> Finding:
    """Return whether this key can read a stream. Asks each of its resources for one record.

    scopes: the key's scopes, if the server tells them. A missing scope then needs no request.
    """
    about = f"{stream.name} ({project_id})"
    missing = [s for s in stream.scopes if scopes is not None and not _covers(scopes, s)]
    if missing:
        named = f"{_ADD_SCOPE}{'s' if len(missing) > 1 else ''} {' and '.join(missing)}"
        said = f"{named} to the personal API key"
        return Finding(about, False, said, EXIT_PARTIAL, stream.scope)
    look = _LOOKS.get(stream.mode, _try_each)
    try:
        said = await look(client, stream, project_id, prefix)
    except StreamUnavailable as exc:
        said = f"{_unavailable(exc)}: {exc}"
        return Finding(about, False, said, exc.exit_code, stream.scope)
    except EtlError as exc:
        return replace(failed_finding(about, exc), scope=stream.scope)
    return Finding(about, True, said, scope=stream.scope)


def _covers(scopes: Sequence[str], scope: str) -> bool:
    """Tell whether a key has this scope. A scope to write includes reading (permissions.py)."""
    return not {"*", scope, scope.replace(":read", ":write")}.isdisjoint(scopes)


def _unavailable(exc: StreamUnavailable) -> str:
    if exc.status == 402:
        return "not in your plan"
    if exc.status in (404, 410):
        return "not on this server"
    if "personal api key access" in exc.message.lower():
        return "closed to personal keys"
    return "not for this key"


async def _try_windows(client: Client, stream: Stream, project_id: int, prefix: str) -> str:
    resource = stream.resources[0]
    path = f"/api/{prefix}/{project_id}/{resource.lists[0].path}"
    now = client.source_now
    dates = Window(now - timedelta(days=1)).asked(now)
    filters = True
    try:
        request = list_request(path, Ask(1), dates, resource.budget_classes)
        answer = await client.fetch(request, attempts=ATTEMPTS)
    except RequestRefused as exc:
        if exc.status != 400 or exc.code is None:
            raise
        filters = False
        request = list_request(path, Ask(1), None, resource.budget_classes)
        answer = await client.fetch(request, attempts=ATTEMPTS)
    listed = parse_list(answer.body)
    flavour = "cursor (has_next)" if listed.by_cursor else "limit and offset (count, next)"
    dated = "" if filters else "; refuses date filters, so every sync reads all of it"
    return f"available; pages by {flavour}{dated}"


async def _try_each(client: Client, stream: Stream, project_id: int, prefix: str) -> str:
    """Ask for one record of each resource."""
    for resource in stream.resources:
        await _try_one(client, resource, project_id, prefix)
    return "available"


async def _try_one(client: Client, resource: Resource, project_id: int, prefix: str) -> None:
    """Ask for one record. A parent is given as 0; it need not exist."""
    address = resource.lists[0]
    parents = resource.parents
    values = {} if parents is None else dict.fromkeys(parents.fields, 0)
    path, params = address.below_host(values, project_id, prefix)
    # Of a list of several projects the first record may be another one's.
    records = 1 if resource.project is None else PROJECTS_ASKED
    request = page_request(
        path,
        params,
        Ask(records) if resource.paged else None,
        resource.budget_classes,
    )
    try:
        answer = await client.fetch(request, attempts=ATTEMPTS)
    except StreamUnavailable as exc:
        if parents is None or not (is_record_gone(exc) or is_record_closed(exc)):
            raise
    except RequestRefused as exc:
        if parents is None or exc.status != 400:
            raise
    else:
        _find_project(resource, answer, project_id)


def _find_project(resource: Resource, answer: Answer, project_id: int) -> None:
    """Raise StreamUnavailable if a list of several projects shows nothing of this one."""
    if resource.project is None:
        return
    listed = parse_page(answer.body, resource.records)
    shown = any(is_of_project(resource, record, project_id) for record in listed.records)
    # What is on further pages shows at the next sync.
    if not shown and not listed.more:
        raise project_not_listed(resource)


async def _try_query(client: Client, stream: Stream, project_id: int, prefix: str) -> str:
    """Ask the configured query for no rows, so that the server reads it and answers its columns."""
    assert stream.query is not None
    text, values = no_rows_query(stream.query, client.source_now)
    path = f"/api/{prefix}/{project_id}/query/"
    request = query_request(path, Query(text, values), uuid.uuid4().hex, in_background=False)
    rows = read_state(await client.fetch(request, attempts=ATTEMPTS)).rows
    if rows is None:
        return "available; the query itself was not answered at once"
    try:
        table_of(stream.query, dict(zip(rows.columns, rows.types, strict=True)))
    except ValueError as exc:
        raise RequestRefused(f"The query is wrong: {exc}") from exc
    return f"available; {len(rows.columns)} columns"


_LOOKS = {Mode.WINDOWS: _try_windows, Mode.QUERY: _try_query}
