"""The client against a real server: what it sends, what it repeats, what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from etl.core.page import Page
from etl.core.place import RecordingsPlace
from etl.core.retry import RetryPolicy
from etl.core.stream import Stream
from etl.core.window import Window
from etl.errors import (
    BudgetSpent,
    ForeignAnswer,
    KeyRefused,
    ListingBroken,
    RequestRefused,
    SourceOverloaded,
    SourceUnavailable,
    StreamUnavailable,
    Throttled,
)
from etl.extractors import clocks
from etl.extractors.client import FIRST_CONTACT_ATTEMPTS, LARGEST_BODY_BYTES, Client, DatabaseClock
from etl.extractors.protocol import Request
from etl.extractors.recordings import RecordingsReader
from etl.streams import SESSION_RECORDINGS
from etl.tasks import is_set
from etl.waits import Waits

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
KEY = "phx_" + "k" * 43
CLASSES = ("list", "all")
REQUEST = Request("/api/projects/1/things/", (("limit", "2"),), CLASSES)
PATIENT = RetryPolicy(attempts=4, first_wait_s=0.01, longest_wait_s=0.02, throttled_attempts=4)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def posthogs(detail: str) -> str:
    """An error body in PostHog's form."""
    return json.dumps({"type": "server_error", "code": "error", "detail": detail, "attr": None})


class CountingBudget:
    """Lets every request go at once, and notes what was asked of it."""

    def __init__(self) -> None:
        self.acquired: list[tuple[str, ...]] = []
        self.blocked: list[tuple[tuple[str, ...], float]] = []

    async def acquire(self, classes: Sequence[str]) -> None:
        """Count a request."""
        self.acquired.append(tuple(classes))

    async def block(self, classes: Sequence[str], seconds: float) -> None:
        """Note a wait that the server asked for."""
        self.blocked.append((tuple(classes), seconds))


class Server:
    """A server that gives its answers one after the other, and the last one from then on."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[web.Request] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Give the next answer."""
        self.seen.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)


class Opened:
    """What a test needs: the client, its budget, and the server at the other end."""

    def __init__(
        self, client: Client, budget: CountingBudget, server: Server, waits: Waits
    ) -> None:
        self.waits = waits
        self.client = client
        self.budget = budget
        self.server = server


Open = Callable[..., Awaitable[Opened]]


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    """Run a server on a free port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Open]:
    """Open a client against a server with these answers."""
    async with AsyncExitStack() as stack:

        async def act(
            *answers: Answer,
            policy: RetryPolicy = PATIENT,
            timeout_s: float = 5.0,
            max_wait_s: float = 60.0,
        ) -> Opened:
            server = await stack.enter_async_context(serving(Server()))
            server.answers = list(answers)
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    headers={"Authorization": f"Bearer {KEY}"},
                    timeout=aiohttp.ClientTimeout(total=timeout_s),
                )
            )
            budget, waits = CountingBudget(), Waits()
            client = Client(
                session,
                server.url,
                budget,
                DatabaseClock(NOON),
                policy,
                max_wait_s,
                waits,
                secret=KEY,
            )
            return Opened(client, budget, server, waits)

        yield act


def says(
    status: int = 200, body: str = '{"results": []}', headers: dict[str, str] | None = None
) -> Answer:
    """Answer with a status and a body."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status, text=body, content_type="application/json", headers=headers
        )

    return answer


async def drops(request: web.Request) -> web.StreamResponse:
    """Break the connection off without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def truncates(request: web.Request) -> web.StreamResponse:
    """Promise more than is sent."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"results": [')
    assert request.transport is not None
    request.transport.abort()
    return response


async def cuts_chunks(request: web.Request) -> web.StreamResponse:
    """Break off in the middle of a chunked body: nothing but the missing end tells."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b'{"results": []}')
    assert request.transport is not None
    request.transport.abort()
    return response


async def hangs(_: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    return web.Response()


async def floods(request: web.Request) -> web.StreamResponse:
    """Send without end."""
    response = web.StreamResponse()
    await response.prepare(request)
    chunk = b" " * (1 << 20)
    while True:
        await response.write(chunk)


# --- an answer --------------------------------------------------------------------------------


async def test_an_answer_is_fetched_with_its_clocks(
    connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Path, parameters and key arrive; what comes back is the body as sent, and two clocks.

    The database's is two hours behind this process's, which the server's agrees with.
    """
    ahead = timedelta(hours=2)
    source_at = NOON + ahead
    monkeypatch.setattr(clocks, "clocks_here", lambda now: (now, now + ahead))
    date = {"Date": format_datetime(source_at, usegmt=True)}
    opened = await connect(says(body='{"results": [1]}', headers=date))
    before = opened.client.source_now
    answer = await opened.client.fetch(REQUEST)
    (seen,) = opened.server.seen
    assert (seen.method, seen.path_qs) == ("GET", "/api/projects/1/things/?limit=2")
    assert seen.headers["Authorization"] == f"Bearer {KEY}"
    assert answer.body == b'{"results": [1]}'
    assert answer.source_at is not None
    assert abs(answer.source_at - source_at) < timedelta(seconds=30)
    assert NOON <= answer.requested_at < NOON + timedelta(seconds=30)
    assert abs(before - NOON) < timedelta(seconds=30)
    assert abs(opened.client.source_now - source_at) < timedelta(seconds=30)
    assert (opened.client.requests, opened.client.bytes_read) == (1, len(answer.body))


async def test_a_path_is_sent_as_it_stands(connect: Open) -> None:
    """What was encoded is not encoded again, and not decoded either."""
    opened = await connect(says())
    await opened.client.fetch(Request("/api/x/a%2Fb%20c/", (("after", "a+b/=&c"),), CLASSES))
    (seen,) = opened.server.seen
    assert seen.raw_path.split("?")[0] == "/api/x/a%2Fb%20c/"
    assert seen.query["after"] == "a+b/=&c"


# --- every request passes the budget -----------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [drops, truncates, cuts_chunks, says(500), says(503), says(504), says(429), says(408)],
    ids=["drops", "truncates", "cuts chunks", "500", "503", "504", "429", "408"],
)
async def test_every_repetition_passes_the_budget(connect: Open, failure: Answer) -> None:
    """As many requests reach the server as were counted: one failure, one success."""
    opened = await connect(failure, says())
    await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == 2
    assert opened.budget.acquired == [CLASSES] * 2
    assert opened.client.requests == 2


async def test_a_dropped_connection_that_was_kept_is_not_repeated_in_silence(
    connect: Open,
) -> None:
    """aiohttp would send the request again by itself, past the budget."""
    opened = await connect(says(), drops, drops, says())
    for _ in range(2):
        await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == 4
    assert len(opened.budget.acquired) == 4


async def test_attempts_are_bounded(connect: Open) -> None:
    """As the policy says, or as the caller says."""
    opened = await connect(drops)
    with pytest.raises(SourceUnavailable, match=r"connection to 127\.0\.0\.1 broke off"):
        await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == len(opened.budget.acquired) == PATIENT.attempts
    with pytest.raises(SourceUnavailable):
        await opened.client.fetch(REQUEST, attempts=2)
    assert len(opened.server.seen) == PATIENT.attempts + 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (401, KeyRefused),
        (402, StreamUnavailable),
        (403, StreamUnavailable),
        (404, StreamUnavailable),
        (410, StreamUnavailable),
    ],
)
async def test_a_refusal_is_final(connect: Open, status: int, kind: type[Exception]) -> None:
    """Asking again would only spend the budget."""
    opened = await connect(says(status, posthogs("no")))
    with pytest.raises(kind):
        await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == 1


@pytest.mark.parametrize("status", [401, 402, 403, 404, 410])
async def test_what_something_else_answers_is_no_refusal(connect: Open, status: int) -> None:
    """A firewall's page is asked again, as a server that fails; sooner given up at first."""
    page = says(status, "<html>blocked</html>")
    opened = await connect(page)
    with pytest.raises(ForeignAnswer, match="Something other than PostHog"):
        await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == FIRST_CONTACT_ATTEMPTS
    opened = await connect(says(), page)
    await opened.client.fetch(REQUEST)
    with pytest.raises(ForeignAnswer):
        await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == 1 + PATIENT.attempts


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(connect: Open, status: int) -> None:
    """The key would go along, to whoever the answer names."""
    elsewhere = await connect(says())
    opened = await connect(says(status, "", {"Location": f"{elsewhere.server.url}/login?t=1"}))
    with pytest.raises(RequestRefused, match=r"redirects to http://127\.0\.0\.1:\d+/login"):
        await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == 1
    assert elsewhere.server.seen == []


# --- 429 --------------------------------------------------------------------------------------


async def test_the_wait_before_the_next_attempt_is_told(connect: Open) -> None:
    """Which attempt comes then, and why; also while nothing answers."""
    slow = RetryPolicy(attempts=4, first_wait_s=30.0)
    opened = await connect(says(503), policy=slow)
    asking = asyncio.ensure_future(opened.client.fetch(REQUEST))
    assert await is_set(opened.waits.changed, within_s=30)
    wait = opened.waits.current
    assert wait is not None
    assert str(wait.cause) == "PostHog to answer: status 503"
    assert wait.cause.then == "attempt 2 of 4"
    assert 14 < (wait.left_s or 0) <= 30
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert opened.waits.current is None


async def test_a_429_blocks_the_budget_for_as_long_as_the_server_says(connect: Open) -> None:
    """For all classes of the request; other processes hold back too."""
    opened = await connect(says(429, headers={"Retry-After": "17"}), says())
    await opened.client.fetch(REQUEST)
    assert opened.budget.blocked == [(CLASSES, 17.0)]


async def test_a_429_without_a_wait_blocks_longer_each_time(connect: Open) -> None:
    """And at last it is given up."""
    opened = await connect(says(429))
    with pytest.raises(Throttled):
        await opened.client.fetch(REQUEST)
    waits = [seconds for _, seconds in opened.budget.blocked]
    assert len(waits) == PATIENT.throttled_attempts - 1
    assert waits == sorted(waits)
    assert waits[0] >= PATIENT.first_throttled_wait_s


async def test_429s_do_not_use_up_the_patience_with_a_failing_server(connect: Open) -> None:
    """The two are counted apart."""
    failures = [says(429), says(500), says(429), says(500), says(429), says(500)]
    opened = await connect(*failures, says())
    await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == 7


async def test_a_wait_longer_than_we_are_willing_pauses(connect: Open) -> None:
    """With the wait itself, so that the run can say until when."""
    opened = await connect(says(429, headers={"Retry-After": "600"}), max_wait_s=60)
    with pytest.raises(BudgetSpent) as caught:
        await opened.client.fetch(REQUEST)
    assert caught.value.wait_s == 600
    assert len(opened.server.seen) == 1


async def test_a_wait_of_more_than_an_hour_counts_as_an_hour_and_is_named(connect: Open) -> None:
    """Of a server that names a day nobody waits a day."""
    opened = await connect(says(429, headers={"Retry-After": "86400"}), max_wait_s=60)
    with pytest.raises(BudgetSpent, match="86400 seconds; we wait an hour, until") as caught:
        await opened.client.fetch(REQUEST)
    assert caught.value.wait_s == 3600
    assert opened.budget.blocked == [(CLASSES, 3600.0)]


# --- bodies and time --------------------------------------------------------------------------


async def test_a_body_without_end_is_not_read_to_its_end(connect: Open) -> None:
    """A server that ignores `limit` must not fill our memory; a smaller page is asked for."""
    opened = await connect(floods)
    with pytest.raises(SourceOverloaded, match="more than 64 MiB"):
        await opened.client.fetch(REQUEST, shrinkable=True)
    assert opened.client.bytes_read <= LARGEST_BODY_BYTES
    assert len(opened.server.seen) == 1


@pytest.mark.parametrize("status", [429, 504, 512, 513])
async def test_an_overloaded_server_is_asked_for_less_at_once(connect: Open, status: int) -> None:
    """The same page again would take as long; one that cannot shrink is asked for again."""
    opened = await connect(says(status, posthogs("Query timeout exceeded. Try again later.")))
    with pytest.raises(SourceOverloaded):
        await opened.client.fetch(REQUEST, shrinkable=True)
    assert len(opened.server.seen) == 1
    with pytest.raises(SourceOverloaded):
        await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == 1 + PATIENT.attempts


async def test_a_server_that_hangs_is_left_in_time(connect: Open) -> None:
    """And asked again, as often as any failing one."""
    opened = await connect(hangs, says(), timeout_s=0.2)
    await opened.client.fetch(REQUEST)
    assert len(opened.server.seen) == 2
    opened = await connect(hangs, timeout_s=0.1, policy=RetryPolicy(attempts=1))
    with pytest.raises(SourceUnavailable, match="did not answer in time"):
        await opened.client.fetch(REQUEST)


async def test_a_server_that_is_not_there_is_named(connect: Open) -> None:
    """With the setting to check, and sooner than one that was there: the address may be wrong."""
    opened = await connect(says())
    async with serving(Server()) as gone:
        url = gone.url
    client = Client(
        opened.client._session,
        url,
        opened.budget,
        DatabaseClock(NOON),
        PATIENT,
        60,
        Waits(),
        secret=KEY,
    )
    with pytest.raises(SourceUnavailable, match="Check POSTHOG_HOST"):
        await client.fetch(REQUEST)
    assert len(opened.budget.acquired) == FIRST_CONTACT_ATTEMPTS


async def test_a_key_that_the_server_quotes_is_not_repeated(connect: Open) -> None:
    """What a server says is logged and stored."""
    opened = await connect(says(401, posthogs(f"The key {KEY} is not valid.")))
    with pytest.raises(KeyRefused) as caught:
        await opened.client.fetch(REQUEST)
    assert "is not valid" in str(caught.value)
    assert KEY not in f"{caught.value} {caught.value!r}"


# --- the extractor's own patience --------------------------------------------------------------

STREAM: Stream = SESSION_RECORDINGS
WINDOW = Window(NOON - timedelta(days=10))


def lists(rows: int, most: int, overloaded_above: int) -> Answer:
    """A documented server that pages by offset, and cannot manage large pages."""

    async def answer(request: web.Request) -> web.StreamResponse:
        limit, offset = int(request.query["limit"]), int(request.query.get("offset", "0"))
        if limit > overloaded_above:
            return web.Response(status=504)
        keys = range(rows)[offset : offset + min(limit, most)]
        after = offset + len(keys)
        return web.json_response(
            {
                "count": rows,
                "next": f"http://elsewhere.invalid/?offset={after}" if after < rows else None,
                "results": [{"id": f"r{n}", "start_time": "2026-05-01T00:00:00Z"} for n in keys],
            },
            headers={"Date": format_datetime(NOON, usegmt=True)},
        )

    return answer


def keys_of(pages: list[Page]) -> set[str]:
    """The keys of all records on these pages."""
    return {key for page in pages if page.evidence is not None for key in page.evidence.keys}


async def test_a_server_that_cannot_answer_everything_at_once_is_asked_so_only_once(
    connect: Open,
) -> None:
    """Then it is read page by page, in pages no larger than were wanted."""
    opened = await connect(lists(rows=500, most=1000, overloaded_above=100))
    reader = RecordingsReader(opened.client, STREAM, 1, prefix="projects", page_size_records=100)
    pages = [page async for page in reader.pages(WINDOW)]
    assert pages[-1].place is not None
    assert pages[-1].place.ended
    assert pages[-1].place.complete
    assert keys_of(pages) == {f"r{n}" for n in range(500)}
    limits = [int(request.query["limit"]) for request in opened.server.seen]
    assert sum(limit > 100 for limit in limits) == 1
    assert {limit for limit in limits if limit <= 100} == {100}


async def test_pages_shrink_until_the_server_can_answer(connect: Open) -> None:
    """Half as large each time, and so they stay."""
    opened = await connect(lists(rows=300, most=1000, overloaded_above=120))
    reader = RecordingsReader(opened.client, STREAM, 1, prefix="projects", page_size_records=800)
    pages = [page async for page in reader.pages(WINDOW)]
    assert pages[-1].place is not None
    assert pages[-1].place.complete
    assert len(keys_of(pages)) == 300
    limits = [int(request.query["limit"]) for request in opened.server.seen]
    assert limits[:4] == [800, 400, 200, 100]
    # The rest is asked for at once, and when that fails no more.
    assert sum(limit > 100 for limit in limits[4:]) == 1
    assert {limit for limit in limits[4:] if limit <= 100} == {100}


async def test_a_record_without_an_id_and_without_a_bottom_does_not_stop_the_stream(
    connect: Open,
) -> None:
    """Even its name for the walk is found without looking through it."""
    deep = "[" * 1015 + "]" * 1015
    body = f'{{"results": [{{"x": {deep}}}, {{"id": "b"}}], "has_next": false}}'
    opened = await connect(says(body=body))
    reader = RecordingsReader(opened.client, STREAM, 1, prefix="projects", page_size_records=100)
    (page,) = [page async for page in reader.pages(WINDOW)]
    assert len(page.records) == 2


@pytest.mark.parametrize(
    "answer",
    [
        '{"results": [{"id": "other"}, {"id": "seen"}], "has_next": false}',
        '{"results": [{"id": "seen"}], "has_next": true}',
    ],
    ids=["the answer to another question", "an answer that goes on"],
)
async def test_an_answer_by_ids_that_was_not_given_to_this_question_proves_no_deletion(
    connect: Open, answer: str
) -> None:
    """Though it shows the witness: then each record is asked for by itself."""
    opened = await connect(
        says(
            body='{"results": [{"id": "seen"}], "has_next": false}',
            headers={"Date": format_datetime(NOON, usegmt=True)},
        ),
        says(body=answer),
        says(body='{"id": "doubted"}'),
    )
    reader = RecordingsReader(opened.client, STREAM, 1, prefix="projects", page_size_records=100)
    (page,) = [page async for page in reader.pages(WINDOW)]
    assert isinstance(page.place, RecordingsPlace)
    found = await reader.confirm(page.place, ["doubted"])
    assert found.gone == []
    assert found.page.records == [{"id": "doubted"}]


async def test_one_page_of_other_dates_does_not_prove_that_a_server_has_no_filter(
    connect: Open,
) -> None:
    """Else everything there is would count as read: by cursor it stops, else it is asked again."""
    old = ",".join(f'{{"id": "{n}", "start_time": "2020-01-01T00:00:00Z"}}' for n in range(2))
    young = f'{{"id": "young", "start_time": "{(NOON - timedelta(hours=1)).isoformat()}"}}'
    date = {"Date": format_datetime(NOON, usegmt=True)}
    by_cursor = await connect(says(body=f'{{"results": [{old}], "has_next": false}}', headers=date))
    reader = RecordingsReader(by_cursor.client, STREAM, 1, prefix="projects", page_size_records=100)
    with pytest.raises(ListingBroken):
        _ = [page async for page in reader.pages(WINDOW)]
    by_offset = await connect(
        says(body=f'{{"results": [{old}], "count": 2, "next": null}}', headers=date),
        says(body=f'{{"results": [{young}], "count": 1, "next": null}}', headers=date),
    )
    reader = RecordingsReader(
        by_offset.client, STREAM, 1, prefix="projects", page_size_records=100,
        traits={"envelope": "count", "date_filter": "honoured"},
    )  # fmt: skip
    (page,) = [page async for page in reader.pages(WINDOW)]
    assert page.evidence is not None
    assert page.evidence.keys == ["young"]
    assert isinstance(page.place, RecordingsPlace)
    assert page.place.traits.date_filter == "honoured"
