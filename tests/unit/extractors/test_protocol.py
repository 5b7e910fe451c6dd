"""How requests are built and what answers mean, without network and event loop."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.walk import Ask
from etl.errors import (
    ForeignAnswer,
    KeyRefused,
    RequestRefused,
    SourceError,
    SourceOverloaded,
    SourceUnavailable,
    StreamUnavailable,
    Throttled,
)
from etl.extractors.protocol import (
    error_of,
    is_about_the_stream,
    is_record_closed,
    is_record_gone,
    list_request,
    names_the_project,
    parse_list,
    parse_object,
    source_clock,
)

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
DATES = (NOON - timedelta(days=1), NOON)
PATH = "/api/projects/1/session_recordings/"


def said(detail: str, code: str = "error") -> bytes:
    """An error body in PostHog's usual form."""
    return json.dumps(
        {"type": "server_error", "code": code, "detail": detail, "attr": None}
    ).encode()


# --- requests ---------------------------------------------------------------------------------

ASKS = st.one_of(
    st.builds(Ask, st.integers(1, 5000)),
    st.builds(Ask, st.integers(1, 5000), after=st.text(min_size=1, max_size=40)),
    st.builds(Ask, st.integers(1, 5000), offset=st.integers(0, 10**6)),
    st.builds(Ask, st.integers(1, 5000), after=st.text(min_size=1), offset=st.integers(0, 10)),
)


@given(ASKS, st.booleans())
def test_only_what_every_server_knows_is_sent(ask: Ask, dated: bool) -> None:
    """An unknown name is a 400, and any offset, also 0, would disable the cursor."""
    request = list_request(PATH, ask, DATES if dated else None, ("list",))
    names = [name for name, _ in request.params]
    assert len(set(names)) == len(names)
    assert set(names) <= {"date_from", "date_to", "limit", "after", "offset"}
    assert not {"after", "offset"} <= set(names)
    assert ("date_from" in names, "date_to" in names) == (dated, dated)
    params = dict(request.params)
    assert params["limit"] == str(ask.limit)
    if ask.after is not None:
        assert params["after"] == ask.after
    elif ask.offset is not None:
        assert params["offset"] == str(ask.offset)


@pytest.mark.parametrize("cursor", ["eyJ2IjoxfQ==", "a+b/c=&limit=1", "ü 日本"])
def test_a_cursor_survives_its_way_through_a_url(cursor: str) -> None:
    """It is opaque, and base64 has characters with a meaning in URLs."""
    request = list_request(PATH, Ask(10, after=cursor), DATES, ("list",))
    assert parse_qs(urlencode(list(request.params)))["after"] == [cursor]


@given(
    st.integers(0, 2**33),
    st.integers(0, 999_999),
    st.integers(-12, 14),
)
def test_dates_are_sent_with_their_zone_and_to_the_microsecond(
    seconds: int, microseconds: int, hours: int
) -> None:
    """Whatever zone they have here. The server includes both bounds."""
    at = datetime.fromtimestamp(seconds, timezone(timedelta(hours=hours)))
    at = at.replace(microsecond=microseconds)
    params = dict(list_request(PATH, Ask(1), (at, at), ("list",)).params)
    assert params["date_from"] == params["date_to"]
    assert params["date_from"].endswith("Z")
    assert datetime.fromisoformat(params["date_from"]) == at


def test_a_request_names_what_it_draws_from_the_budget() -> None:
    """All its classes."""
    assert list_request(PATH, Ask(1), None, ("list", "all")).budget_classes == ("list", "all")


# --- answers ----------------------------------------------------------------------------------

RECORDS = [{"id": "a"}, {"id": "b"}]
LISTS: list[tuple[Any, bool, bool, str | None, int | None]] = [
    # the answer, by_cursor, more, cursor, count
    ({"results": RECORDS, "has_next": True, "next_cursor": "x"}, True, True, "x", None),
    ({"results": RECORDS, "has_next": False, "version": 4}, True, False, None, None),
    ({"results": RECORDS, "has_next": True}, True, True, None, None),
    ({"results": RECORDS, "has_next": False, "next_cursor": "x"}, True, False, "x", None),
    ({"results": RECORDS, "has_next": True, "next_cursor": ""}, True, True, None, None),
    ({"results": RECORDS, "has_next": True, "next_cursor": 3}, True, True, None, None),
    ({"results": RECORDS, "count": 9, "next": "https://h/?o=2"}, False, True, None, 9),
    ({"results": RECORDS, "count": 2, "next": None, "previous": None}, False, False, None, 2),
    ({"results": RECORDS, "count": "2", "next": None}, False, False, None, None),
    ({"results": RECORDS, "has_next": None, "next": None}, False, False, None, None),
    (RECORDS, False, False, None, None),
]


@pytest.mark.parametrize(("answer", "by_cursor", "more", "cursor", "count"), LISTS)
def test_a_list_is_read_in_whichever_envelope_it_comes(
    answer: Any, by_cursor: bool, more: bool, cursor: str | None, count: int | None
) -> None:
    """Both forms are read from any server. A bare array is the whole list."""
    listed = parse_list(json.dumps(answer).encode())
    assert listed.records == RECORDS
    assert (listed.by_cursor, listed.more) == (by_cursor, more)
    assert (listed.cursor, listed.count, listed.dirty) == (cursor, count, False)


def test_without_an_end_mark_only_an_empty_page_is_the_end() -> None:
    """An answer with rows and without an end mark does not say that it is the last."""
    assert parse_list(b'{"results": [{"id": "a"}]}').more
    assert not parse_list(b'{"results": []}').more


def test_a_list_with_a_nan_is_dirty_and_whole() -> None:
    """The server's JSON writer is not strict."""
    listed = parse_list(b'{"results": [{"id": "a", "activity_score": NaN}], "has_next": false}')
    assert listed.dirty
    assert math.isnan(listed.records[0]["activity_score"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b'{"results": [{"id": "a"}', "incomplete JSON"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        (b"  <html>", "web page"),
        (b'{"error": "no"}', "not a list"),
        (b'{"results": null}', "not a list"),
        (b'{"results": {"id": "a"}}', "not a list"),
        (b"3", "not a list"),
        (b"null", "not a list"),
    ],
)
def test_an_answer_that_is_no_list_is_asked_for_again(body: bytes, message: str) -> None:
    """It is never taken for an empty list."""
    with pytest.raises(SourceUnavailable, match=message):
        parse_list(body)


def test_an_object_is_an_object() -> None:
    """Anything else is asked for again."""
    assert parse_object(b'{"id": 3}') == {"id": 3}
    for body in (b"[]", b"3", b"", b"<html>"):
        with pytest.raises(SourceUnavailable):
            parse_object(body)


# --- errors -----------------------------------------------------------------------------------

STATUSES: list[tuple[int, type[SourceError]]] = [
    (400, RequestRefused),
    (401, KeyRefused),
    (402, StreamUnavailable),
    (403, StreamUnavailable),
    (404, StreamUnavailable),
    (405, RequestRefused),
    (408, SourceUnavailable),
    (410, StreamUnavailable),
    (413, RequestRefused),
    (429, Throttled),
    (500, SourceUnavailable),
    (502, SourceUnavailable),
    (503, SourceUnavailable),
    (504, SourceOverloaded),
    (512, SourceOverloaded),
    (513, SourceOverloaded),
    (520, SourceUnavailable),
    (599, SourceUnavailable),
    (204, RequestRefused),
    (301, RequestRefused),
    (302, RequestRefused),
    (308, RequestRefused),
]
DECIDING = (401, 402, 403, 404, 410)
FOREIGN = [
    b"",
    b"<html>Not found: no such record</html>",
    b'["Something is wrong."]',
    b'{"detail": "Not found."}',
    b'{"error": "Something is wrong."}',
    b'{"detail": {"nested": [1]}, "code": "not_found", "type": "invalid_request"}',
    b'{"type": "https://example.com/probs/gone", "code": "gone", "detail": "Not found."}',
    b'{"type": "invalid_request", "detail": "Not found."}',
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
@pytest.mark.parametrize("code", ["error", "not_found", "permission_denied"])
def test_in_posthogs_form_the_status_alone_says_what_is_to_be_done(
    status: int, kind: type[SourceError], code: str
) -> None:
    """Types and codes vary. The message is one line."""
    error = error_of(status, {}, said("Something\nis wrong.", code))
    assert type(error) is kind
    assert (error.status, error.code) == (status, code)
    assert "\n" not in str(error)
    assert "Something is wrong" in str(error) or 300 <= status < 400


@pytest.mark.parametrize(("status", "kind"), STATUSES)
@pytest.mark.parametrize("body", FOREIGN)
def test_another_form_decides_about_no_record_and_no_key(
    status: int, kind: type[SourceError], body: bytes
) -> None:
    """Proxies and firewalls send the same statuses. Nothing is concluded; we ask again."""
    error = error_of(status, {}, body)
    assert type(error) is (ForeignAnswer if status in DECIDING else kind)
    assert (error.status, error.code) == (status, None)
    assert "\n" not in str(error)
    tells = (is_record_gone, is_record_closed, is_about_the_stream, names_the_project)
    assert not any(tell(error) for tell in tells)


@pytest.mark.parametrize(
    ("status", "code", "detail", "meaning"),
    [
        (404, "not_found", "Not found.", is_record_gone),
        (404, "not_found", "Recording not found", is_record_gone),
        (404, "not_found", "No ProjectSecretAPIKey matches the given query.", is_record_gone),
        (404, "not_found", "Endpoint not found.", None),
        (404, "not_found", "Project not found.", names_the_project),
        (404, "error", "Insight not found.", None),
        (410, "not_found", "Recording has been deleted", None),
        (403, "permission_denied", "You do not have viewer access to this.", is_record_closed),
        (403, "permission_denied", "No explanation for you.", is_record_closed),
        (403, "permission_denied", "API key missing required scope 'a:b'", is_about_the_stream),
        (403, "permission_denied", "You don't have access to the project.", is_about_the_stream),
        (402, "payment_required", "Not in your plan.", is_about_the_stream),
        (401, "authentication_failed", "The key is invalid.", is_about_the_stream),
    ],
)
def test_a_refusal_speaks_of_one_record_or_of_all(
    status: int, code: str, detail: str, meaning: Any
) -> None:
    """Or about a project, which has to be confirmed, or about neither."""
    error = error_of(status, {}, said(detail, code))
    tells = (is_record_gone, is_record_closed, is_about_the_stream, names_the_project)
    assert [tell for tell in tells if tell(error)] == ([meaning] if meaning else [])


@pytest.mark.parametrize(
    ("detail", "kind"),
    [
        ("Query timeout exceeded. Try again later.", SourceOverloaded),
        ("ClickHouse is at capacity. Try again later.", Throttled),
        ("Too many simultaneous queries. Try again later.", Throttled),
        ("Request was throttled. Expected available in 62 seconds.", Throttled),
    ],
)
def test_a_429_about_a_slow_query_asks_for_less(detail: str, kind: type[SourceError]) -> None:
    """Waiting would not help. It does help if the server is busy."""
    assert type(error_of(429, {}, said(detail, "throttled"))) is kind


@pytest.mark.parametrize(
    ("status", "detail", "remedy"),
    [
        (401, "Personal API key found in request Authorization header is invalid.", "phx_…"),
        (403, "API key missing required scope 'session_recording:read'", "session_recording:read"),
        (403, "You don't have access to the project.", "access to this project"),
        (402, "You have reached your quota.", "plan"),
        (404, "Project not found.", "POSTHOG_PROJECT_ID"),
        (404, "Endpoint not found.", "switch it off"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, detail: str, remedy: str) -> None:
    """Which scope to add, which setting to correct, or to disable the stream."""
    assert remedy in str(error_of(status, {}, said(detail)))


def test_a_redirect_names_the_address_without_its_query() -> None:
    """The query may hold a token."""
    error = error_of(302, {"Location": "https://eu.posthog.com/login?next=/x&token=abc"}, b"")
    assert "https://eu.posthog.com/login" in str(error)
    assert "token" not in str(error)


def test_a_long_reason_is_cut() -> None:
    """It goes into a table and a log line."""
    assert len(error_of(500, {}, said("x" * 10**6)).message) < 300


# --- waits ------------------------------------------------------------------------------------

THROTTLED = "Request was throttled. Expected available in 62 seconds."


def http_date(at: datetime) -> str:
    """An instant as HTTP writes it."""
    return format_datetime(at, usegmt=True)


WAITS: list[tuple[dict[str, str], str, float | None]] = [
    ({"Retry-After": "7"}, "", 7.0),
    ({"Retry-After": " 7 "}, THROTTLED, 7.0),
    ({"Retry-After": "7"}, THROTTLED, 7.0),
    ({}, THROTTLED, 62.0),
    ({}, "Expected available in 1 second.", 1.0),
    ({"Retry-After": "later"}, THROTTLED, 62.0),
    ({"Retry-After": "²"}, THROTTLED, 62.0),
    ({"Retry-After": "-5"}, "", None),
    ({"Retry-After": "0"}, "", None),
    ({}, "ClickHouse is at capacity. Try again later.", None),
    ({}, "Expected available in 0 seconds.", None),
    ({}, "", None),
    ({"Retry-After": http_date(NOON + timedelta(seconds=90)), "Date": http_date(NOON)}, "", 90.0),
    ({"Retry-After": http_date(NOON - timedelta(seconds=90)), "Date": http_date(NOON)}, "", None),
    ({"Retry-After": "Mon, 04 May 2026 12:01:30 -0000", "Date": http_date(NOON)}, "", 90.0),
    ({"Retry-After": "9" * 400}, "", 3_600.0),
    ({"Retry-After": "3601"}, "", 3_600.0),
    ({}, f"Expected available in {'9' * 20} seconds.", 3_600.0),
    ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -0100", "Date": http_date(NOON)}, "", None),
]


@pytest.mark.parametrize(("headers", "detail", "wait_s"), WAITS)
def test_the_wait_of_a_429_comes_from_its_header_else_from_its_text(
    headers: dict[str, str], detail: str, wait_s: float | None
) -> None:
    """Seconds, or a date by the server's own clock. Without one, or with 0, it named none."""
    assert error_of(429, headers, said(detail)).wait_s == wait_s


def test_what_the_server_named_is_kept_where_it_counts_as_an_hour() -> None:
    """For the log and for the message."""
    error = error_of(429, {"Retry-After": "7200"}, said(THROTTLED))
    assert (error.wait_s, error.named_wait_s) == (3_600.0, 7_200.0)


def test_a_date_without_a_clock_beside_it_is_measured_by_ours() -> None:
    """This is rough: the server's Date header is better."""
    headers = {"Retry-After": http_date(datetime.now(UTC) + timedelta(seconds=600))}
    wait_s = error_of(429, headers, b"").wait_s
    assert wait_s is not None
    assert 590 < wait_s <= 600


def test_a_503_may_name_a_wait_in_its_header_only() -> None:
    """Its text is not about us."""
    assert error_of(503, {"Retry-After": "5"}, said(THROTTLED)).wait_s == 5.0
    assert error_of(503, {}, said(THROTTLED)).wait_s is None


@pytest.mark.parametrize(
    ("header", "at"),
    [
        ("Mon, 04 May 2026 12:00:00 GMT", NOON),
        ("Mon, 04 May 2026 14:00:00 +0200", NOON),
        ("Mon, 04 May 2026 12:00:00 -0000", NOON),
        ("yesterday", None),
        ("", None),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
    ],
)
def test_the_servers_clock_is_read_from_its_date_header(header: str, at: datetime | None) -> None:
    """A header that cannot be read counts as missing."""
    assert source_clock({"Date": header}) == at
    assert source_clock({}) is None


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [
        ("Delivery to https://hooks.example/T0/B0/xyz?a=b failed", "Delivery to ••• failed"),
        ("The key phs_abc is old", "The key ••• is old"),
        ("Token aB3dE6gH9jK2mN5pQ8sT1v is of none", "Token ••• is of none"),
        ("No recording 018f2b6e-7c1a-7def-8a55-0123456789ab", None),
        ("API key missing required scope 'session_recording_playlist:read'", None),
        ("Request was throttled. Expected available in 3600 seconds.", None),
        ("estimated_query_execution_time_too_long", None),
    ],
)
def test_what_could_be_a_secret_in_the_words_of_an_error_is_hidden(
    said: str, passed_on: str | None
) -> None:
    """Addresses, keys and random words. Ids and ordinary words are kept."""
    error = error_of(400, {}, json.dumps({"detail": said}).encode())
    assert error.message == f"The API answered 400: {passed_on or said}"
