"""The alerts in Postgres: each beginning and each end is told once, whatever happens between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core.alerts import Kind, Line, Rules
from etl.loaders.alerts import AlertBook, Watched, open_alerts
from etl.loaders.database import Database
from etl.loaders.tables import Tables
from tests.support.sql import select, value

TABLES = Tables("posthog")
STREAMS = ("insights", "cohorts")
CHANNELS = ("email", "webhook")
REJECT = (
    "INSERT INTO posthog_etl.rejects (project_id, stream, record_key, reason, first_seen_at, "
    "last_seen_at) VALUES (1, $1, '1', 'odd', now(), now())"
)
# How a channel may take a message. dies: the process does, before or after the channel took it.
TOOK = {"well": True, "refused": False, "unheard": True, "lost": False}
DIES = {"dies before": False, "dies after": True}
STEPS = st.one_of(
    st.tuples(st.just("trouble"), st.sampled_from(STREAMS)),
    st.tuples(st.just("tell"), st.sampled_from(sorted({**TOOK, **DIES}))),
    st.tuples(st.just("later"), st.none()),
)


def book_of(database: Database, **changed: object) -> AlertBook:
    """The alerts as a process of its own sees them. Only rejects are an alert."""
    watched = {
        "projects": [1],
        "current": False,
        "streams": STREAMS,
        "known": STREAMS,
        "named": (),
        "rules": Rules((Kind.REJECTS,), {"": timedelta(days=1)}),
        **changed,
    }
    return AlertBook(database, TABLES, Watched(**watched))


async def turn(dsn: str, stream: str) -> None:
    """Begin the trouble of a stream, or end it."""
    gone = await select(
        dsn, "DELETE FROM posthog_etl.rejects WHERE stream = $1 RETURNING 1", stream
    )
    if not gone:
        await select(dsn, REJECT, stream)


async def much_later(dsn: str) -> None:
    """Let the time be over for which dead processes hold their messages."""
    await select(dsn, "UPDATE posthog_etl.alert_messages SET expires_at = now() - interval '1 s'")


class Histories:
    """What was to be told of each stream, and what each channel was told, by several processes."""

    def __init__(self, database: Database, dsn: str) -> None:
        self.database, self.dsn = database, dsn
        self.open: set[str] = set()
        self.expected: dict[str, list[str]] = {stream: [] for stream in STREAMS}
        self.told: dict[str, list[Line]] = {channel: [] for channel in CHANNELS}
        self.unsure: set[tuple[str, str, str]] = set()

    async def tell(self, how: str) -> None:
        """Evaluate as a new process, and tell; e-mail always goes well."""
        book = book_of(self.database)
        taken = await book.evaluate(CHANNELS)
        troubled = await select(self.dsn, "SELECT stream FROM posthog_etl.rejects")
        now = {row["stream"] for row in troubled}
        for stream in now ^ self.open:
            self.expected[stream].append("began" if stream in now else "ended")
        self.open = now
        for channel, lines in taken.items():
            await self._send(book, channel, lines, how if channel == "webhook" else "well")

    async def _send(self, book: AlertBook, channel: str, lines: Sequence[Line], how: str) -> None:
        for line in lines:
            key = (channel, line.alert_id, line.event)
            assert line.repeated == (key in self.unsure), line
            if how in DIES or how in ("unheard", "lost"):
                self.unsure.add(key)
        if {**TOOK, **DIES}[how]:
            self.told[channel] += lines
        if how == "well":
            await book.told(channel, lines)
        elif how in TOOK:
            await book.untold(channel, lines, maybe=how != "refused")

    def check(self) -> None:
        """Each channel was told everything in its order, and twice only with these words."""
        for channel, lines in self.told.items():
            seen = Counter[tuple[str, str]]()
            once: dict[str, list[str]] = {stream: [] for stream in STREAMS}
            for line in lines:
                seen[line.alert_id, line.event] += 1
                if seen[line.alert_id, line.event] == 1:
                    once[line.key.stream].append(str(line.event))
                else:
                    assert line.repeated
            assert once == self.expected, channel


async def test_over_any_history_each_beginning_and_each_end_is_told(
    database: Database, dsn: str
) -> None:
    """Once, or twice with the words; in their order; never not. Nothing is kept afterwards."""
    histories = list[list[tuple[str, str]]]()

    @settings(max_examples=12)
    @given(st.lists(STEPS, min_size=1, max_size=14))
    def collect(steps: list[tuple[str, str]]) -> None:
        histories.append(steps)

    collect()
    histories.append([("trouble", "insights"), ("tell", "dies after"), ("later", "")])
    histories.append([("trouble", "insights"), ("tell", "refused")] * 3)
    for steps in histories:
        tables = ("rejects", "alerts", "alert_messages", "watched_streams")
        await select(dsn, f"TRUNCATE {', '.join(f'posthog_etl.{name}' for name in tables)}")
        history = Histories(database, dsn)
        for what, of in steps:
            if what == "trouble":
                await turn(dsn, of)
            elif what == "later":
                await much_later(dsn)
            else:
                await history.tell(of)
        await much_later(dsn)
        await history.tell("well")
        history.check()
        kept = await value(dsn, "SELECT count(*) FROM posthog_etl.alerts")
        assert kept == len(history.open) == len(await open_alerts(database, TABLES))


async def test_of_several_processes_at_once_exactly_one_tells(database: Database, dsn: str) -> None:
    """Whatever the order in which they look."""
    for stream in STREAMS:
        await turn(dsn, stream)
    taken = await asyncio.gather(*(book_of(database).evaluate(["webhook"]) for _ in range(4)))
    lines = [line.key.stream for each in taken for found in each.values() for line in found]
    assert sorted(lines) == sorted(STREAMS)
    assert len([each for each in taken if each]) == 1


async def test_a_channel_is_told_of_an_end_only_when_its_beginning_was_told(
    database: Database, dsn: str
) -> None:
    """While another process still tells the beginning, nobody tells the end."""
    slow, other = book_of(database), book_of(database)
    await turn(dsn, "insights")
    begun = (await slow.evaluate(["webhook"]))["webhook"]
    await turn(dsn, "insights")
    assert await other.evaluate(["webhook"]) == {}
    await slow.told("webhook", begun)
    (line,) = (await slow.evaluate(["webhook"]))["webhook"]
    assert (str(line.event), line.repeated) == ("ended", False)


async def test_a_channel_that_is_added_later_is_told_what_is_open(
    database: Database, dsn: str
) -> None:
    """And the other channel nothing anew."""
    book = book_of(database)
    await turn(dsn, "insights")
    await book.told("webhook", (await book.evaluate(["webhook"]))["webhook"])
    taken = await book.evaluate(CHANNELS)
    assert {channel: len(lines) for channel, lines in taken.items()} == {"email": 1}


async def test_the_alerts_of_another_configuration_are_left_alone(
    database: Database, dsn: str
) -> None:
    """Of another project nothing is decided; what this one has switched off is not over."""
    book = book_of(database)
    await turn(dsn, "insights")
    await book.told("webhook", (await book.evaluate(["webhook"]))["webhook"])
    assert await book_of(database, projects=[2]).evaluate(["webhook"]) == {}
    taken = await book_of(database, known=["cohorts"], streams=["cohorts"]).evaluate(["webhook"])
    (line,) = taken["webhook"]
    assert line.text.startswith("No longer watched: rejects: insights, project 1, since ")


async def test_a_stream_that_never_succeeded_is_stale_once_it_was_waited_for_too_long(
    database: Database, dsn: str
) -> None:
    """Also of @current, before its number is known."""
    for current, projects, number in ((False, [1], 1), (True, [], 0)):
        rules = Rules((Kind.STALE,), {"": timedelta(hours=1), "cohorts": None})
        book = book_of(database, current=current, projects=projects, rules=rules)
        assert await book.evaluate(["webhook"]) == {}
        await select(dsn, "UPDATE posthog_etl.watched_streams SET since = now() - interval '61 m'")
        (line,) = (await book.evaluate(["webhook"]))["webhook"]
        assert (line.key.project_id, line.key.stream) == (number, "insights")
        assert line.detail.startswith("never read to its end; waited for since ")
