"""P5: no clock is trusted alone, and what a wrong clock wrote is corrected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etl.extractors import clocks
from tests.adversary.conftest import StartAdversary
from tests.adversary.rows import recording, recordings
from tests.adversary.server import Adversary
from tests.support.clocks import following
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value

DAY, YEAR = timedelta(days=1), timedelta(days=365)
WHOLE_PAST = {"lookback": "400d"}
MARKED = "SELECT count(*) FROM posthog.session_recordings WHERE coalesce(_expired_at, _deleted_at)"
TAIL = "SELECT tail_until FROM posthog_etl.watermarks WHERE stream = 'session_recordings'"


async def gone(dsn: str) -> int:
    """How many recordings are marked deleted or expired."""
    return int(await value(dsn, f"{MARKED} IS NOT NULL"))


async def is_known_to_be_past(dsn: str, server: Adversary) -> bool:
    """Tell whether the watermarks end within the last minutes."""
    (row,) = await select(
        dsn, "SELECT tail_until, upper(complete) AS until FROM posthog_etl.watermarks"
    )
    return all(server.now - timedelta(minutes=9) < at <= server.now for at in row.values())


@pytest.mark.parametrize("off_by", [YEAR, -YEAR], ids=["ahead", "behind"])
@pytest.mark.parametrize("place", ["the first", "the last"])
async def test_one_wrong_date_header_changes_nothing(
    adversary: Adversary, dsn: str, place: str, off_by: timedelta
) -> None:
    """In the first load and in the next sync: watermark, expiry, and later syncs are unaffected."""
    adversary.add(*recordings(45, adversary.now - timedelta(hours=1), step=timedelta(hours=12)))
    pipeline = Pipeline(adversary, dsn, **WHOLE_PAST)
    pages = 3

    for _ in range(2):
        number = len(adversary.requests) + (1 if place == "the first" else pages)
        adversary.skew = lambda n, at=number: off_by if n == at else timedelta(0)
        report = await pipeline.sync()
        assert report.ending.exit_code == 0, report.ending
        assert await gone(dsn) == 0
        assert await is_known_to_be_past(dsn, adversary)

    adversary.add(recording("new", adversary.now - timedelta(minutes=1)))
    assert (await Pipeline(adversary, dsn).sync()).rows_inserted == 1


@pytest.mark.parametrize("wrong", ["database", "process"])
async def test_two_clocks_that_agree_outvote_a_third(
    adversary: Adversary, dsn: str, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """The clock of the database, or of this machine, is a year ahead."""
    adversary.add(*recordings(5, adversary.now - timedelta(hours=1)))

    def read(_database_now: datetime) -> tuple[datetime, datetime]:
        now = datetime.now(UTC)
        return (now + YEAR, now) if wrong == "database" else (now, now + YEAR)

    monkeypatch.setattr(clocks, "clocks_here", read)
    report = await Pipeline(adversary, dsn).sync()

    assert (report.ending.exit_code, report.records_read) == (0, 5), report.ending
    assert await is_known_to_be_past(dsn, adversary)


@pytest.mark.parametrize(
    "streams", [("session_recordings",), ("insights",)], ids=["windows", "snapshot"]
)
async def test_where_no_two_clocks_agree_the_run_is_partial_and_names_all_three(
    adversary: Adversary, dsn: str, monkeypatch: pytest.MonkeyPatch, streams: tuple[str, ...]
) -> None:
    """Its rows are kept. Nothing is called complete until two clocks agree again."""
    adversary.add(*recordings(5, adversary.now - timedelta(hours=1)))
    adversary.skew = lambda _: timedelta(hours=-2)
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    pipeline = Pipeline(adversary, dsn, streams=streams)
    with monkeypatch.context() as patch:
        patch.setattr(clocks, "clocks_here", lambda at: (at, at + hour))
        report = await pipeline.sync()

    assert report.ending.exit_code == 3
    for name, at in (("database", now), ("this machine", now + hour), ("server", now - 2 * hour)):
        assert name in (report.ending.reason or "")
        assert any(
            f"{at + timedelta(minutes=m):%Y-%m-%d %H:%M}" in report.ending.reason for m in range(4)
        ), report.ending
    assert report.records_read == (5 if streams[0] == "session_recordings" else 0)
    assert await value(dsn, "SELECT tail_until FROM posthog_etl.watermarks") is None

    assert (await pipeline.sync()).ending.exit_code == 0
    assert await value(dsn, "SELECT tail_until FROM posthog_etl.watermarks") is not None


async def test_a_watermark_that_a_wrong_clock_wrote_heals_without_reading_everything_anew(
    adversary: Adversary, dsn: str
) -> None:
    """Ten days ago an older version wrote 2027. Since then every sync has read nothing."""
    adversary.add(*recordings(60, adversary.now - 11 * DAY, step=timedelta(hours=7)))
    pipeline = Pipeline(adversary, dsn, lookback="26h", page_size_records=10)
    await pipeline.sync()
    await value(
        dsn,
        "WITH poisoned AS (UPDATE posthog_etl.runs SET "
        "started_at = started_at - interval '10 days', "
        "ended_at = ended_at - interval '10 days' RETURNING *), since AS ("
        "INSERT INTO posthog_etl.runs (id, command, project_id, stream, unit, status, started_at, "
        "ended_at, records_read, rows_inserted, rows_updated, rejected, requests, bytes_read) "
        "SELECT gen_random_uuid(), command, project_id, stream, unit, status, now() - d * "
        "interval '1 day', now() - d * interval '1 day', 0, 0, 0, 0, 1, 99 "
        "FROM poisoned, generate_series(1, 9) AS d) UPDATE posthog_etl.watermarks SET "
        "tail_until = tail_until + interval '1 year', traits = traits - 'expired_until', "
        "complete = complete + tstzmultirange(tstzrange(tail_until, tail_until + '1 year'))",
    )
    missed = [recording(f"missed{n}", adversary.now - n * DAY) for n in range(1, 10)]
    adversary.add(*missed)

    report = await pipeline.sync()

    assert (report.ending.exit_code, report.rows_inserted) == (0, 9), report.ending
    assert report.records_read < 20
    assert await is_known_to_be_past(dsn, adversary)
    assert not (await pipeline.status())["holes"]


async def test_what_a_wrong_clock_marked_expired_before_its_time_lives_again(
    adversary: Adversary, dsn: str
) -> None:
    """Also recordings that no sync reads again."""
    adversary.add(*recordings(30, adversary.now - timedelta(hours=1), step=timedelta(hours=20)))
    pipeline = Pipeline(adversary, dsn, lookback="1h")
    await pipeline.sync()
    await value(
        dsn,
        "WITH older AS (UPDATE posthog_etl.watermarks SET traits = traits - 'expired_until') "
        "UPDATE posthog.session_recordings SET _expired_at = expiry_time",
    )

    report = await pipeline.sync()

    assert (report.ending.exit_code, await gone(dsn)) == (0, 0), report.ending


async def test_check_says_which_clock_is_outvoted(adversary: Adversary, dsn: str) -> None:
    """The server's clock is a year ahead."""
    adversary.skew = lambda _: YEAR
    findings = await Pipeline(adversary, dsn).check()
    (found,) = [each for each in findings if each.about == "clocks"]
    assert found.well
    assert f"the server says {adversary.now.year + 1}" in found.said
    assert "syncs go by the two that agree" in found.said


async def test_tests_move_all_clocks_by_one_function(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """Server, database and this process are ten days ahead; a sync uses their time."""
    server = await start_adversary(offset=10 * DAY)
    server.add(*recordings(5, server.now - timedelta(hours=1)))
    with following(lambda: server.now):
        report: Any = await Pipeline(server, dsn).sync()
    assert report.ending.exit_code == 0, report.ending
    assert await is_known_to_be_past(dsn, server)
