"""Every form of an answer that the query endpoint is known to give."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from etl.errors import (
    RequestRefused,
    SourceError,
    SourceOverloaded,
    SourceUnavailable,
    StreamUnavailable,
    Throttled,
)
from etl.extractors.protocol import Answer
from etl.extractors.query_protocol import (
    Query,
    query_error,
    query_request,
    read_state,
)

RESULT = {
    "results": [["a", 1], ["b", 2]],
    "columns": ["name", "number"],
    "types": [["name", "String"], ["number", "UInt64"]],
    "error": "",
}


def answer(body: Any, status: int = 200) -> Answer:
    """An answer with this body."""
    return Answer(json.dumps(body).encode(), datetime.now(UTC), None, status)


def status_of(**fields: Any) -> dict[str, Any]:
    """The status of a query in the background."""
    kept = {"id": "q1", "complete": False, "error": False, "error_message": None, "results": None}
    return {"query_status": {**kept, **fields}}


@pytest.mark.parametrize(
    "body", [RESULT, status_of(complete=True, results=RESULT), {**RESULT, "query_status": None}]
)
def test_rows_are_found_where_they_are(body: Any) -> None:
    """In the answer itself, or within the status."""
    state = read_state(answer(body))
    assert state.rows is not None
    assert (state.rows.columns, state.rows.types) == (["name", "number"], ["String", "UInt64"])
    assert state.rows.rows == RESULT["results"]


def test_a_query_that_runs_is_asked_after_by_its_own_id() -> None:
    """It need not be the one that was sent."""
    state = read_state(answer(status_of(id="cache_1"), 202))
    assert (state.id, state.rows) == ("cache_1", None)


@pytest.mark.parametrize("complete", [True, False])
def test_an_error_wins_over_complete(complete: bool) -> None:
    """Stored statuses of older servers say error without complete."""
    with pytest.raises(RequestRefused, match="Unknown field"):
        read_state(answer(status_of(complete=complete, error=True, error_message="Unknown field")))


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, status_of(error=True, error_message="Syntax error at x"), RequestRefused, "Syntax"),
        (500, status_of(error=True), SourceOverloaded, "did not say why"),
        (400, status_of(error=True, error_message="Query was killed"), SourceOverloaded, "killed"),
        (200, status_of(complete=True, results={**RESULT, "error": "Memory limit exceeded"}),
         SourceOverloaded, "Memory limit"),
    ],
)  # fmt: skip
def test_a_failed_query_is_wrong_or_too_much(
    status: int, body: Any, kind: type[SourceError], said: str
) -> None:
    """Whatever the status of the answer; one that failed without a reason may be too much."""
    with pytest.raises(kind, match=said):
        _read(status, body)


def _read(status: int, body: Any) -> None:
    if status != 200:
        raise query_error(status, {}, json.dumps(body).encode())
    read_state(answer(body))


def error_body(detail: str, code: str = "validation_error", **more: Any) -> bytes:
    """An error in PostHog's form."""
    body = {"type": "validation_error", "code": code, "detail": detail, "attr": None, **more}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error_body("Unable to resolve field: x"), RequestRefused),
        (400, error_body("OFFSET is not supported on queries made with a personal API key"),
         RequestRefused),
        (400, error_body("no", extra={"query_scan": {"killed": True}}), SourceOverloaded),
        (400, error_body("Timeout exceeded: elapsed 10.1 seconds"), SourceOverloaded),
        (500, error_body("Query is still running"), SourceOverloaded),
        (500, error_body("ClickHouse error while executing query."), SourceUnavailable),
        (504, b"<html>", SourceOverloaded),
        (403, error_body("API key missing required scope 'query:read'", "permission_denied"),
         StreamUnavailable),
        (402, error_body("Not in your plan", "payment_required"), StreamUnavailable),
        (404, error_body("Not found.", "not_found"), StreamUnavailable),
        (429, error_body("Exceeded maximum concurrency limit: 3 for key: x"), Throttled),
        (429, error_body("Too many queries are running right now"), Throttled),
        (429, error_body("Budget", "api_queries_budget_exceeded"), Throttled),
    ],
)  # fmt: skip
def test_each_error_says_what_to_do(status: int, body: bytes, kind: type[SourceError]) -> None:
    """Wait, ask for less, correct the query, or go on without it."""
    assert type(query_error(status, {}, body)) is kind


def test_an_empty_budget_of_bytes_names_its_end() -> None:
    """So it is a pause and no failure."""
    error = query_error(
        429, {"Retry-After": "1800"}, error_body("Budget", "api_queries_budget_exceeded")
    )
    assert (error.wait_s, error.code) == (1800.0, "api_queries_budget_exceeded")


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"results": "odd"},
        {"results": [], "columns": ["a"], "types": []},
        {"results": [["a"]], "columns": ["a", "b"], "types": [["a", "String"], ["b", "String"]]},
        status_of(complete=True),
        {"query_status": {"complete": False}},
    ],
)
def test_an_answer_of_another_form_is_no_result(body: Any) -> None:
    """It is asked for again, and never taken for an empty page."""
    with pytest.raises(SourceUnavailable):
        read_state(answer(body))


def test_a_query_is_calculated_anew_in_utc_and_its_values_stand_beside_the_text() -> None:
    """Answers are cached for a day by default."""
    body = query_request("/q/", Query("SELECT {a}", {"a": 1}), "id", in_background=False).body
    assert body is not None
    sent = json.loads(body)
    assert sent["refresh"] == "force_blocking"
    assert sent["query"]["values"] == {"a": 1}
    assert sent["query"]["modifiers"] == {"convertToProjectTimezone": False}
