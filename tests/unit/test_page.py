"""The status page without a browser: its text for any history, and its escaping."""

from __future__ import annotations

import re
import shlex
import uuid
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from etl.core.coverage import Coverage, Span
from etl.core.statuses import Failure
from etl.loaders.row_counts import Count
from etl.loaders.seen_runs import RunWait
from etl.loaders.verified import Verified
from etl.logs import Redactor
from etl.service.page import words
from etl.service.page.calendar import COMPLETE, MISSING, PARTLY, RUNNING, begin_of, calendar
from etl.service.page.look import RunPage
from etl.service.page.overview import LEVELS, Books, Overview, Source, bars_of, build
from etl.service.page.pace import pace_of
from etl.service.page.rejects import reject_of
from etl.service.page.render import Renderer, days_said, prose, year_said
from etl.service.page.words import second

NOW = datetime(2026, 11, 21, 15, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTILE = """</p><script>alert(1)</script><img src=x onerror=alert(2)>"'&{{ 7*7 }}"""
SOURCE = Source("https://eu.posthog.com", "posthog", START, ("session_recordings", "groups"))
ONE = Source("https://eu.posthog.com", "posthog", START, ("session_recordings",))
VOID = {"meta", "link", "br", "img", "path", "rect", "circle"}


def a_run(minutes_ago: float = 5, **values: Any) -> dict[str, Any]:
    """A run as the database has it."""
    began = NOW - timedelta(minutes=minutes_ago)
    return {
        "id": str(uuid.uuid4()),
        "project_id": 1,
        "stream": "session_recordings",
        "unit": "tail",
        "command": "sync",
        "status": "succeeded",
        "reason": None,
        "started_at": began,
        "ended_at": began + timedelta(seconds=3),
        "paused_until": None,
        "records_read": 90,
        "records_read_fast": 80,
        "rows_inserted": 1,
        "rows_updated": 2,
        "rejected": 0,
        "requests": 1,
        "bytes_read": 5000,
        "forecast_requests": None,
        "forecast_exact": None,
        "waited_s": 0.0,
        "waiting_for": None,
        "waiting_since": None,
        "waiting_until": None,
        "held": False,
        "now": NOW,
        **values,
    }


def status_of(run: dict[str, Any], **values: Any) -> dict[str, Any]:
    """What `History.status` returns after that run."""
    marks = {
        "complete": Coverage(),
        "tail_until": None,
        "traits": None,
        "rejects": 0,
        "verified": None,
        "waiting": [],
        "retried": None,
    }
    return {**run, **marks, "drift": [], **values}


def overview_of(*runs: dict[str, Any], **values: Any) -> Overview:
    """The page of one stream."""
    counts = {(1, "session_recordings"): Count(1234, True)}
    return build(NOW, ONE, Books([status_of(runs[-1], **values)], runs, counts))


def rendered(overview: Overview, *secrets: str) -> str:
    """The page as HTML."""
    return Renderer(Redactor(*secrets)).overview(overview)


def test_it_says_what_is_verified_and_how_to_repair_what_differs() -> None:
    """Until when, when, and how many rows differ."""
    at, until = NOW - timedelta(hours=8), NOW - timedelta(hours=34)
    equal = Verified(at, "contents", START, until, at, 0)
    for verified, said in (
        (None, "not yet"),
        (equal, "equal until 1.4 d ago checked 8 h ago"),
        (replace(equal, differences=1234), "1,234 differ until 1.4 d ago checked 8 h ago"),
        (replace(equal, since=None, until=None), "equal checked 8 h ago"),
    ):
        html = rendered(overview_of(a_run(), verified=verified))
        (cell,) = re.findall(r'data-name="verified">(.*?)</td>', html)
        assert re.sub(r"<[^>]*>", "", cell).strip() == said
        assert ("verify session_recordings --deep --repair" in html) == ("differ" in said)


class Outline(HTMLParser):
    """Parses HTML strictly: elements nest, and only known attributes occur."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without content."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the element that is open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect the text."""
        self.text += data


def assert_harmless(text: str) -> Outline:
    """Hostile text stays text: it adds no element, no attribute and no template."""
    outline = Outline(text)
    scripts = [attrs for tag, attrs in outline.tags if tag == "script"]
    assert [attrs.get("src", "").removeprefix("../") for attrs in scripts] == ["static/page.js"]
    names = {name for _, attrs in outline.tags for name in attrs}
    assert not {name for name in names if name.startswith("on")} | (names & {"style"})
    assert not [tag for tag, _ in outline.tags if tag == "img"]
    return outline


# --- texts ------------------------------------------------------------------------------------


def test_an_empty_database_says_how_to_begin() -> None:
    """And shows no empty tables."""
    outline = Outline(rendered(build(NOW, SOURCE, Books([], [], {}))))
    assert "Nothing has run yet" in outline.text
    assert "posthog-etl sync" in outline.text
    assert "table" not in {tag for tag, _ in outline.tags}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("succeeded", "The only stream succeeded"),
        ("failed", "1 of 1 stream failed"),
        ("partial", "1 of 1 stream not complete"),
        ("paused", "1 of 1 stream paused: the request budget is spent"),
        ("something new", "1 of 1 stream failed"),
    ],
)
def test_the_verdict_is_the_worst_state(status: str, verdict: str) -> None:
    """An unknown state is not a success."""
    assert overview_of(a_run(status=status)).verdict == verdict


def test_a_run_that_holds_its_unit_no_more_has_died() -> None:
    """It is shown as failed, although its row says that it runs."""
    alive, dead = (a_run(status="running", ended_at=None, held=held) for held in (True, False))
    known = Coverage((Span(START, NOW),))
    assert overview_of(alive, complete=known).verdict == "1 stream running, nothing wrong"
    overview = overview_of(dead)
    assert overview.verdict == "1 of 1 stream failed"
    assert "ended without a word" in Outline(rendered(overview)).text


def test_a_pause_is_shown_with_its_end() -> None:
    """And with its length."""
    until = NOW + timedelta(minutes=41)
    text = Outline(rendered(overview_of(a_run(status="paused", paused_until=until)))).text
    assert "goes on at 15:41 UTC, in 41 min" in text
    past = overview_of(a_run(status="paused", paused_until=NOW - DAY))
    assert "could go on since 20 Nov 2026 15:00 UTC" in Outline(rendered(past)).text


def test_freshness_rows_and_speed_are_shown() -> None:
    """Ninety records in three seconds are thirty a second."""
    complete = Coverage((Span(START, NOW - timedelta(minutes=4)),))
    text = Outline(rendered(overview_of(a_run(), complete=complete, rejects=7))).text
    assert re.search(r"4 min ago\s+1,234\s+30/s\s+7\s", text), text


@pytest.mark.parametrize("ago_s", [0, 17])
def test_rows_counted_before_the_rest_of_the_page_say_when(ago_s: int) -> None:
    """Counting is slow, so it is done less often, and a first load goes on meanwhile."""
    run = a_run()
    counts = {(1, "session_recordings"): Count(48_000, True)}
    counted_at = NOW - timedelta(seconds=ago_s)
    books = Books([status_of(run)], [run], counts, counted_at=counted_at)
    said = "Rows, and which part was asked about, are as of 14:59:43 UTC."
    assert (said in rendered(build(NOW, ONE, books))) == (ago_s > 0)


def test_streams_that_have_not_run_yet_are_named_and_counted() -> None:
    """During a first load most have not."""
    overview = build(NOW, SOURCE, Books([status_of(a_run())], [a_run()], {}))
    assert overview.verdict == "The only stream succeeded, 1 stream not run yet"
    assert "Not run yet: groups." in Outline(rendered(overview)).text


def test_a_first_load_is_not_said_to_be_well() -> None:
    """Neither while it runs nor of its backfill: all is missing."""
    run = a_run(60, status="running", held=True, ended_at=None, records_read=60_000)
    overview = overview_of(run)
    assert overview.verdict == "1 stream running, first load under way"
    assert "first load, 60,000 records read" in Outline(rendered(overview)).text
    window = f"{Span(NOW - 2 * DAY, NOW - DAY)}"
    backfill = {**run, "command": "backfill", "unit": window, "low": None}
    books = Books([status_of(backfill)], [backfill], {}, windows=[backfill])
    text = Outline(rendered(build(NOW, ONE, books))).text
    assert "Nothing is missing" not in text
    assert "How long it takes is known once the first part is read." in text


def test_a_failed_stream_that_is_tried_again_says_both() -> None:
    """In the verdict, above the table and in it."""
    failure = Failure("tail", "failed", "No route to host", NOW - DAY, "posthog-etl sync")
    run = a_run(status="running", held=True, ended_at=None)
    overview = overview_of(run, retried=failure, complete=Coverage((Span(START, NOW),)))
    assert overview.verdict == "1 of 1 stream failed, is tried again"
    text = " ".join(Outline(rendered(overview)).text.split())
    assert "The last sync failed, and runs again now: No route to host" in text
    assert "failed before" in text


def test_rejects_are_in_the_verdict_and_shown() -> None:
    """With their reasons, by a link; of many the latest."""
    reject = {"project_id": 1, "stream": "groups", "record_key": "k", "reason": HOSTILE}
    counts = {(1, "session_recordings"): Count(1, True)}
    run = a_run()
    books = Books([status_of(run, rejects=12)], [run], counts, rejects=[reject])
    overview = build(NOW, ONE, books)
    assert overview.verdict == "The only stream succeeded, 12 records rejected"
    html = rendered(overview)
    outline = assert_harmless(html)
    assert html.count('href="rejects"') == 3
    assert html.count('href="rejects?project=1&amp;stream=session_recordings"') == 1
    assert ("section", "rejects") in [(tag, attrs.get("id")) for tag, attrs in outline.tags]
    assert "These are the latest of 12. All of them, with what was received." in outline.text


def test_open_alerts_are_shown_with_who_was_told() -> None:
    """By a link to the page of the stream, if it has one."""
    alert = {"project_id": 1, "kind": "failed", "detail": HOSTILE, "began_at": NOW - 2 * DAY}
    told = {**alert, "stream": "session_recordings", "told": ["email", "webhook"]}
    untold = {**alert, "stream": "groups", "kind": "stale", "told": []}
    run = a_run()
    overview = build(NOW, ONE, Books([status_of(run)], [run], {}, alerts=[told, untold]))
    html = rendered(overview)
    text = " ".join(assert_harmless(html).text.split())
    assert "failed session_recordings, since 19 Nov 2026 15:00 UTC; told by email and web" in text
    assert "stale groups, since 19 Nov 2026 15:00 UTC; not told yet" in text
    assert "2 alerts" in text
    assert html.count('href="streams/1/session_recordings"') == 2
    assert 'href="streams/1/groups"' not in html


def test_of_a_long_payload_the_beginning_is_shown_and_the_command_for_all_of_it() -> None:
    """The key is quoted for the shell; what is whole is put in lines."""
    row = {"record_key": "it's 1", "payload": '{"a": "é"}', "payload_length": 10}
    whole = reject_of(row)
    assert (whole.payload, whole.left_out) == ('{\n  "a": "é"\n}', 0)
    cut = reject_of({**row, "payload_length": 50_000})
    assert (cut.payload, cut.left_out) == ('{"a": "é"}', 49_990)
    assert shlex.split(cut.command) == ["posthog-etl", "rejects", "show", "it's 1"]
    assert reject_of({**row, "payload": None, "payload_length": None}).payload == ""


def test_sharing_says_which_part_was_asked_about() -> None:
    """In the verdict and in its state."""
    run = a_run(stream="recording_sharing", unit="rotation")
    asked = {(1, "recording_sharing"): "3 % asked"}
    source = replace_streams("recording_sharing")
    overview = build(NOW, source, Books([status_of(run)], [run], {}, asked=asked))
    assert overview.verdict == "The only stream succeeded, recording_sharing 3 % asked"
    assert "3 % asked" in Outline(rendered(overview)).text


def replace_streams(*streams: str) -> Source:
    """The source with other streams on."""
    return Source(ONE.host, ONE.schema, ONE.start, streams)


def test_what_is_not_complete_is_shown_with_the_command_that_loads_it() -> None:
    """The latest stretches, and the number of earlier ones."""
    edges = [START + number * DAY for number in range(0, 40)]
    spans = tuple(Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True))
    text = Outline(rendered(overview_of(a_run(), complete=Coverage(spans)))).text
    command = "posthog-etl backfill session_recordings --since {} --until {}"
    assert command.format("2026-02-07T00:00:00Z", "2026-02-08T00:00:00Z") in text
    assert text.count("posthog-etl backfill") == 5
    assert "and 14 earlier stretches" in text


def test_hundreds_of_runs_and_streams_make_one_page() -> None:
    """Every run is a bar with its own link and text; ids are unique."""
    runs, rows = [], []
    for project in range(1, 11):
        for stream in ("session_recordings", "groups", "insights"):
            own = [
                a_run(30 - turn, project_id=project, stream=stream, records_read=turn)
                for turn in range(30)
            ]
            runs += own
            rows.append(status_of(own[-1]))
    outline = Outline(rendered(build(NOW, SOURCE, Books(rows, runs, {}))))
    links = [attrs for tag, attrs in outline.tags if tag == "a" and "aria-label" in attrs]
    bars = [attrs for attrs in links if (attrs.get("class") or "").startswith("bar ")]
    assert {attrs["href"] for attrs in bars} == {f"runs/{run['id']}" for run in runs}
    assert all(attrs["aria-label"] for attrs in bars)
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_longer_a_run_took_the_higher_its_bar() -> None:
    """In the steps that the style sheet defines."""
    took = [0, 0.1, 2, 60, 3600]
    runs = [a_run(99, ended_at=NOW - 99 * timedelta(minutes=1) + s * DAY / 86400) for s in took]
    levels = [bar.level for bar in bars_of(runs, NOW)]
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (1, LEVELS)
    assert [bar.level for bar in bars_of(runs[:1], NOW)] == [1]


# --- the calendar -----------------------------------------------------------------------------


def test_days_are_complete_partly_running_or_missing() -> None:
    """By how much of the day is known complete, in UTC."""
    complete = Coverage((Span(NOW - 5 * DAY, NOW - 3 * DAY), Span(NOW - DAY, NOW)))
    running = [Span(NOW - 3 * DAY, NOW - 2 * DAY - timedelta(hours=16))]
    days = calendar(complete, running, NOW - 6 * DAY, NOW).latest[0].days
    assert [(day.day.day, day.state) for day in days] == [
        (15, MISSING),
        (16, PARTLY),
        (17, COMPLETE),
        (18, RUNNING),
        (19, MISSING),
        (20, PARTLY),
        (21, COMPLETE),
    ]


def test_a_month_is_said_in_words() -> None:
    """For screen readers; days that are not complete are named."""
    complete = Coverage((Span(START, START + 4 * DAY), Span(START + 6 * DAY, START + 8 * DAY)))
    (month,) = calendar(complete, [], START, START + 10 * DAY).latest
    assert days_said(month) == "January 2026: 6 days complete; missing: 5 to 6, 9 to 10"


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 24 * 800), max_size=40, unique=True),
    st.lists(st.tuples(st.integers(0, 24 * 800), st.integers(1, 500)), max_size=3),
)
def test_every_day_occurs_once_and_says_what_coverage_says(
    hours: list[int], running: list[tuple[int, int]]
) -> None:
    """Any stretches over more than two years."""
    edges = [START + timedelta(hours=hour) for hour in sorted(hours)]
    spans = tuple(Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False))
    now = START + timedelta(hours=24 * 790 + 7)
    at = [Span(START + timedelta(hours=a), START + timedelta(hours=a + n)) for a, n in running]
    found = calendar(Coverage(spans), at, START, now)
    months = (*found.latest, *(month for _, year in found.earlier for month in year))
    days = sorted((day for month in months for day in month.days), key=lambda day: day.day)
    assert [day.day for day in days] == [(START + n * DAY).date() for n in range(791)]
    for place, day in enumerate(days):
        whole = Span(START + place * DAY, min(START + (place + 1) * DAY, now))
        held = sum((b - a for a, b in Coverage(spans).within(whole)), timedelta())
        assert (day.state == COMPLETE) == (held == whole.until - whole.since)
        if day.state in (PARTLY, MISSING):
            assert (day.state == PARTLY) == bool(held)
            assert not any(s.since < whole.until and whole.since < s.until for s in at)


# --- the forecast -----------------------------------------------------------------------------


def window_run(newest: int, minutes_ago: float, **values: Any) -> dict[str, Any]:
    """A backfill run of ten days, `newest` days before now."""
    until = NOW - newest * DAY
    unit = str(Span(until - 10 * DAY, until))
    values = {"low": None, "requests": 10, **values}
    return a_run(minutes_ago, command="backfill", unit=unit, **values)


def test_a_backfill_is_forecast_by_its_pace() -> None:
    """25 days were loaded in five minutes, so the remaining 75 take fifteen."""
    low = (NOW - 25 * DAY).isoformat()
    runs = [
        window_run(20, 1, status="running", ended_at=None, held=True, low=low),
        window_run(10, 3),
        window_run(0, 5),
        window_run(300, 500),
    ]
    pace = pace_of(runs, [Span(NOW - 100 * DAY, NOW - 20 * DAY)], NOW)
    assert pace is not None
    assert (pace.windows, pace.loaded, pace.left) == (2, 25 * DAY, 75 * DAY)
    assert pace.done_at == NOW + timedelta(minutes=15)
    assert (pace.low, pace.requests) == (NOW - 25 * DAY, 30)


def test_a_backfill_that_waits_is_forecast_from_the_end_of_its_pause() -> None:
    """A backfill that has ended or has read nothing has no forecast."""
    until = NOW + timedelta(minutes=30)
    paused = window_run(10, 2, status="paused", paused_until=until)
    holes = [Span(NOW - 20 * DAY, NOW - 10 * DAY)]
    pace = pace_of([paused, window_run(0, 5)], holes, NOW)
    assert pace is not None
    assert (pace.paused_until, pace.done_at) == (until, until + timedelta(minutes=5))
    assert pace_of([window_run(0, 5)], holes, NOW) is None
    assert pace_of([], holes, NOW) is None
    fresh = pace_of([window_run(0, 1, status="running", ended_at=None)], holes, NOW)
    assert fresh is not None
    assert fresh.done_at is None


# --- waits ------------------------------------------------------------------------------------


def test_a_stream_that_waits_is_not_said_to_get_on() -> None:
    """The verdict, the line and the run's own page say what for, and until when."""
    limit = "PostHog's hourly limit for queries: 9 of 9 requests used"
    since, until = NOW - timedelta(minutes=5), NOW + timedelta(minutes=50)
    run = a_run(
        status="running",
        held=True,
        ended_at=None,
        waited_s=300.0,
        waiting_for=limit,
        waiting_since=since,
        waiting_until=until,
    )
    wait = RunWait(str(run["id"]), "sync", "tail", limit, since, until)
    at = second(until, NOW)
    overview = overview_of(run, waiting=[wait])
    assert overview.verdict == f"1 stream waiting until {at}, first load under way"
    page = Outline(rendered(overview)).text
    assert f"the sync waits for {limit}; it goes on at {at}" in page
    assert f"waiting until {at}" in page
    known = Coverage((Span(START, NOW),))
    unknown = overview_of(run, waiting=[replace(wait, until=None)], complete=known)
    assert unknown.verdict == "1 stream waiting, nothing wrong"
    own = Renderer(Redactor()).run(RunPage(run, "running", 600.0, bars_of([run], NOW), 0, []))
    assert f"It waits for {limit}; it goes on at {at}" in Outline(own).text
    assert "10 min 5 min of it waiting" in Outline(own).text


# --- escaping ---------------------------------------------------------------------------------


def test_hostile_texts_are_shown_as_they_are() -> None:
    """In any column, on both pages."""
    run = a_run(status="failed", reason=HOSTILE, stream=HOSTILE, unit=HOSTILE, command=HOSTILE)
    source = Source(HOSTILE, HOSTILE, START, (HOSTILE + "2",))
    overview = build(NOW, source, Books([status_of(run)], [run], {}))
    outline = assert_harmless(rendered(overview))
    assert outline.text.count(HOSTILE) >= 4
    reject = {
        "first_seen_at": NOW,
        "resolved_at": None,
        "record_key": HOSTILE,
        "reason": f"`{HOSTILE}`",
    }
    page = RunPage(run, "failed", 3.0, bars_of([run], NOW), 60, [reject], (HOSTILE, "b"))
    outline = assert_harmless(Renderer(Redactor()).run(page))
    assert outline.text.count(HOSTILE) >= 4
    assert "and 59 other records rejected" in outline.text
    assert f"The tables of this stream: {HOSTILE}, b." in outline.text


@given(st.text())
def test_prose_keeps_every_character(text: str) -> None:
    """Only the backticks around a command are removed."""
    shown = Outline(str(prose(text))).text.replace("`", "")
    # HTML has no NUL and only one kind of line end.
    assert re.sub(r"\s|\0|\ufffd", "", shown) == re.sub(r"[\s`\0\ufffd]", "", text)


def test_known_secrets_are_taken_out_of_every_text() -> None:
    """In case one ever gets into the bookkeeping."""
    run = a_run(status="failed", reason="said `phx_secretkey` and phx_secretkey, pass hunter22")
    page = rendered(overview_of(run), "phx_secretkey", "postgresql://u:hunter22@db/x")
    assert "said" in page
    assert "secretkey" not in page
    assert "hunter22" not in page


# --- words ------------------------------------------------------------------------------------


def test_lengths_counts_and_sizes_are_said_shortly() -> None:
    """To about two digits."""
    assert [words.span(s) for s in (-1, 0, 0.44, 9.96, 59, 60, 240, 5400, 86_400 * 83)] == (
        ["0 s", "0 s", "0.4 s", "10 s", "59 s", "1 min", "4 min", "1.5 h", "83 d"]
    )
    assert words.count(Count(1_234_567, True)) == "1,234,567"
    assert words.count(Count(1_234_567, False)) == "about 1.2 million"
    assert words.count(None) == words.rate(None) == words.span(None) == "-"
    assert [words.rate(r) for r in (0.04, 3, 1234.5)] == ["0/s", "3/s", "1,234/s"]
    assert [words.size(b) for b in (0, 999, 1500, 25_000_000)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "25 MB",
    ]


@given(
    st.sets(st.integers(0, 30)),
    st.one_of(st.none(), st.integers(-5, 30)),
)
def test_days_begin_with_the_data_only_if_nothing_before_it_is_missing(
    complete: set[int], oldest: int | None
) -> None:
    """Empty years are left out, days that may hold data are not."""
    known = Coverage(tuple(Span(START + n * DAY, START + (n + 1) * DAY) for n in sorted(complete)))
    at = None if oldest is None else START + oldest * DAY
    begins = begin_of(known, START, at)
    if oldest is not None and oldest > 0 and set(range(oldest)) <= complete:
        assert begins == at
    else:
        assert begins == START


def test_a_year_that_is_folded_says_what_is_in_it() -> None:
    """So that nothing that is missing hides there."""
    known = Coverage((Span(START, START + 3 * DAY),))
    months = calendar(known, [], START, START + 8 * DAY).latest
    assert year_said(months) == "3 days complete, 5 days not known complete"
