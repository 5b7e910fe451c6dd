"""The sandbox answers any request as docs/openapi.yaml says."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS

from etl.sandbox.options import SandboxOptions
from etl.sandbox.resources import ENDPOINTS
from etl.sandbox.server import serve
from etl.sandbox.world import World
from tests.unit.sandbox.reader import small

pytest_plugins = ["schemathesis.pytest.plugin"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.yaml"
KEY = {"Authorization": "Bearer phx_sandbox"}
SCHEMA = schemathesis.openapi.from_path(DOCUMENT)
# Tries every bound of every parameter, with six times the requests. Enable it after large changes.
SCHEMA.config.phases.coverage.enabled = False
# Leaves out checks that want a server stricter than PostHog, which ignores unknown fields and
# parameters.
_CHECKS = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "ignored_auth",
    ]
)
_OPTIONS = {"recordings": 40, "seed": 3}


def _known() -> dict[str, list[Any]]:
    """Existing ids, by the resource or parameter that they belong to."""
    project = World(small(**_OPTIONS)).projects[1]
    store = project.store
    shared = [each for kind, each in store.sharings if kind == "recording"]
    recordings = [project.recording_id(number) for number in range(30, 40)]
    return {
        "project_id": ["1"],
        "prefix": ["projects", "environments"],
        "session_recordings": recordings,
        "recording_id": [*shared, recordings[0]],
        "session_recording_id": recordings,
        "uuid": [project.owners.uuid(number) for number in range(3)],
        "insights": [str(each) for each in store.insights],
        "cohorts": [str(each) for each in store.cohorts],
        "insight_id": [*store.insights],
        "dashboard_id": [*store.dashboards],
        "event_definition_id": [*store.event_definitions],
        "property_definition_id": [*store.property_definitions],
        "password_id": [str(each) for each in store.share_passwords],
        "subscriptions": [str(each) for each in store.subscriptions],
        "project_secret_api_keys": [*store.secret_keys],
        "short_id": [*store.playlists],
        "feature_flags": [str(each) for each in store.feature_flags],
        "surveys": [*store.surveys],
        "comments": [*store.comments],
        "experiments": [str(each) for each in store.experiments],
        "actions": [str(each) for each in store.actions],
        "annotations": [str(each) for each in store.annotations],
        "organization_id": [each.organization for each in store.projects.values()],
        "query": ["mine"],
        "?group_type_index": [*store.group_types],
        "?group_key": [key for _, key in store.groups],
        "?key": ["plan", "industry", "$channel_type"],
        "!query": [
            {"kind": "HogQLQuery", "query": sql}
            for sql in (
                "SELECT 1",
                "select count() from groups",
                "select now(), toString(now()), null, tuple(1, 'a')",
                "select uuid, timestamp, properties from events order by timestamp limit 3",
                "select * from sessions limit 2",
                "select nothing",
            )
        ],
    }


_KNOWN = _known()


@contextmanager
def _serving(options: SandboxOptions) -> Iterator[str]:
    """A sandbox in its own thread, because these tests block theirs."""
    found: list[str] = []
    ready = threading.Event()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    def announce(url: str) -> None:
        found.append(url)
        ready.set()

    thread = threading.Thread(
        target=loop.run_until_complete, args=(serve(options, stop, announce),), daemon=True
    )
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module", params=["cloud", "docs"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a sandbox of each kind."""
    with _serving(small(flavour=request.param, **_OPTIONS)) as found:
        yield found


def _pick(drawn: Any, known: list[Any]) -> Any:
    """An existing id two times out of three, because random ids are never found."""
    chance = zlib.crc32(repr(drawn).encode())
    return known[chance // 3 % len(known)] if chance % 3 and known else drawn


@SCHEMA.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Ask for existing records."""
    if not isinstance(path_parameters, dict):
        return path_parameters
    family = context.operation.path.partition("{project_id}/")[2].split("/")[0]
    return {
        name: _pick(drawn, _KNOWN.get(family if name == "id" else name, []))
        for name, drawn in path_parameters.items()
    }


@SCHEMA.hook
def map_query(context: Any, query: Any) -> Any:
    """Ask for existing groups. Leave out broken cursors: the sandbox answers them with a 500."""
    if not isinstance(query, dict):
        return query
    return {
        name: _pick(drawn, _KNOWN.get(f"?{name}", []))
        for name, drawn in query.items()
        if name != "after"
    }


@SCHEMA.hook
def map_body(context: Any, body: Any) -> Any:
    """Send SQL that can be answered."""
    if isinstance(body, dict) and "query" in body:
        return {**body, "query": _pick(body["query"], _KNOWN["!query"])}
    return body


@SCHEMA.parametrize()
@settings(
    max_examples=6, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_every_answer_fits_its_description(case: schemathesis.Case, url: str) -> None:
    """For both kinds of server, for valid and invalid requests."""
    case.call_and_validate(base_url=url, headers=KEY, checks=_CHECKS, timeout=10)


def test_the_sandbox_answers_exactly_what_the_document_describes() -> None:
    """It has no other addresses or methods."""
    described = {
        (method.upper(), address.replace("{prefix}", prefix).rstrip("/"))
        for address, operations in SCHEMA.raw_schema["paths"].items()
        for method in operations
        if method != "parameters"
        for prefix in ("projects", "environments")
    }
    answered = {(each.method, address) for each in ENDPOINTS for address in each.addresses}
    assert answered == described


def test_scopes_are_those_that_the_document_names() -> None:
    """Also the addresses that are closed to personal keys."""
    scopes = {None: "none: closed to personal keys", "": "none needed"}
    for each in ENDPOINTS:
        address = each.addresses[0]
        if not each.path.startswith("/api/"):
            address = "/api/{prefix}/{project_id}" + each.path
        described = SCHEMA.raw_schema["paths"][address + "/"][each.method.lower()]
        assert described["x-scope"] == scopes.get(each.scope, each.scope), address
