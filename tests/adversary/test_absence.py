"""P6: deletions are seen, never invented. A listed record is alive. Expiry has its own guard."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.adversary import foreign
from tests.adversary.conftest import StartAdversary
from tests.adversary.rows import insight, recording, recordings
from tests.adversary.server import Adversary
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WHOLE_PAST = {"lookback": "400d"}
INSIGHTS = ("insights",)
RECORDINGS = "session_recordings"
BOOM = foreign.refused(500, "server_error", "Boom")
NOT_FOUND = foreign.refused(404, "not_found", "Not found.")


async def marked(dsn: str, table: str = RECORDINGS, mark: str = "_deleted_at") -> set[str]:
    """The keys of the rows that carry a mark."""
    rows = await select(
        dsn, f'SELECT id::text AS id FROM posthog."{table}" WHERE "{mark}" IS NOT NULL'
    )
    return {row["id"] for row in rows}


def singles(server: Adversary, name: str = "insights") -> list[str]:
    """The addresses of single records that were requested."""
    return [
        each.path
        for each in server.requests
        if each.path.startswith(f"{name}/") and each.path != f"{name}/"
    ]


async def let_a_day_pass(dsn: str, stream: str) -> None:
    """Make the requests for single records of a stream a day older."""
    await value(
        dsn,
        "UPDATE posthog_etl.checks SET checked_at = checked_at - interval '25 hours' "
        "WHERE stream = $1",
        stream,
    )


# Hidden records


async def test_fifty_insights_that_are_hidden_stay_and_one_that_is_gone_is_marked(
    adversary: Adversary, dsn: str
) -> None:
    """Each hidden record is asked for by its key, once a day; a list without it decides nothing.

    The last answers show no record, so a record that exists has to show that they mean something.
    """
    adversary.insights.rows = [insight(n) for n in range(1, 301)]
    command = Command(adversary.url, dsn, POSTHOG_ETL_DISABLED_STREAMS="")
    assert (await command.run("sync", "insights")).code == 0
    adversary.insights.hidden = set(range(1, 51))
    adversary.insights.rows = [row for row in adversary.insights.rows if row["id"] != 300]

    result = await command.run("sync", "insights", "--json")

    assert result.code == 0, result.err
    assert await marked(dsn, "insights") == {"300"}
    assert len(singles(adversary)) == 51 + 1

    adversary.requests.clear()
    assert (await command.run("sync", "insights")).code == 0
    assert singles(adversary) == []


async def test_many_suspects_are_asked_for_over_several_syncs(
    adversary: Adversary, dsn: str
) -> None:
    """Until all were asked for, each run is partial and says how many are left."""
    adversary.insights.rows = [insight(n) for n in range(1, 201)]
    pipeline = Pipeline(adversary, dsn, streams=INSIGHTS, confirm_requests=15)
    await pipeline.sync()
    adversary.insights.hidden = set(range(1, 31))
    adversary.insights.rows = adversary.insights.rows[:195]
    endings = []
    for _ in range(3):
        report = await pipeline.sync()
        endings.append((report.ending.exit_code, (report.ending.reason or "").split(" ")[0]))

    assert endings == [(3, "20"), (3, "5"), (0, "")]
    suspects = [f"insights/{n}/" for n in (*range(1, 31), *range(196, 201))]
    assert [singles(adversary).count(each) for each in suspects] == [1] * 35
    assert await marked(dsn, "insights") == {str(n) for n in range(196, 201)}


async def test_what_is_known_to_be_hidden_is_asked_again_after_a_day_and_no_news_for_the_guard(
    adversary: Adversary, dsn: str
) -> None:
    """A third is hidden. It is accepted once, and not again. One of them is deleted later."""
    adversary.insights.rows = [insight(n) for n in range(1, 91)]
    pipeline = Pipeline(adversary, dsn, streams=INSIGHTS, confirm_requests=20)
    await pipeline.sync()
    adversary.insights.hidden = set(range(1, 31))
    assert "30 of 90 records have vanished" in ((await pipeline.sync()).ending.reason or "")
    first = await pipeline.sync(accept_deletions=INSIGHTS)
    assert "10 records that the list did not show" in (first.ending.reason or "")
    second = await pipeline.sync()
    assert second.ending.exit_code == 0, second.ending
    assert await marked(dsn, "insights") == set()

    adversary.insights.hidden -= {7}
    adversary.insights.rows = [row for row in adversary.insights.rows if row["id"] != 7]
    await let_a_day_pass(dsn, "insights")
    for _ in range(2):
        assert (await pipeline.sync()).ending.exit_code == 0
    assert await marked(dsn, "insights") == {"7"}


async def test_a_recording_that_is_hidden_from_a_documented_server_s_list_stays(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """Asked for by its key, PostHog answers that the key's owner may not see it."""
    server = await start_adversary(envelope="documented")
    server.add(*recordings(12, server.now - HOUR))
    pipeline = Pipeline(server, dsn, **WHOLE_PAST)
    await pipeline.sync()
    del server.recordings["r000003"]
    server.when(f"{RECORDINGS}/r000003/", foreign.refused(403, "permission_denied", "Not yours."))

    report = await pipeline.sync()

    assert (report.ending.exit_code, await marked(dsn)) == (0, set()), report.ending


async def test_insights_that_always_fail_keep_none_of_the_others_from_being_marked(
    adversary: Adversary, dsn: str
) -> None:
    """The first three of ten always fail. A record that exists shows that the server works."""
    adversary.insights.rows = [insight(n) for n in range(1, 61)]
    pipeline = Pipeline(adversary, dsn, streams=INSIGHTS)
    await pipeline.sync()
    adversary.insights.rows = adversary.insights.rows[10:]
    for number in (1, 10, 2):
        adversary.when(f"insights/{number}/", BOOM)

    report = await pipeline.sync()

    assert "3 could not be asked about" in (report.ending.reason or ""), report.ending
    assert await marked(dsn, "insights") == {str(n) for n in range(3, 10)}


async def test_what_was_asked_for_in_vain_comes_after_what_was_not_asked_for(
    adversary: Adversary, dsn: str
) -> None:
    """A sync asks for three, and the first two always fail: the others are still asked for."""
    adversary.insights.rows = [insight(n) for n in range(1, 61)]
    pipeline = Pipeline(adversary, dsn, streams=INSIGHTS, confirm_requests=3)
    await pipeline.sync()
    adversary.insights.rows = adversary.insights.rows[7:]
    for number in (1, 2):
        adversary.when(f"insights/{number}/", BOOM)

    reasons = [(await pipeline.sync()).ending.reason or "" for _ in range(3)]

    assert reasons[0].startswith("6 records that the list did not show"), reasons
    assert await marked(dsn, "insights") == {str(n) for n in range(3, 8)}


async def test_recordings_are_asked_for_singly_where_the_question_by_ids_always_fails(
    adversary: Adversary, dsn: str
) -> None:
    """The server can never answer for one of the two that vanished."""
    adversary.add(*recordings(12, adversary.now - HOUR))
    pipeline = Pipeline(adversary, dsn, **WHOLE_PAST)
    await pipeline.sync()
    del adversary.recordings["r000003"], adversary.recordings["r000004"]
    adversary.when(lambda asked: "r000003" in asked.query.get("session_ids", ""), BOOM)
    adversary.when(f"{RECORDINGS}/r000003/", BOOM)

    report = await pipeline.sync()

    assert (report.ending.exit_code, await marked(dsn)) == (3, {"r000004"}), report.ending


# Witnesses


@pytest.mark.parametrize("stream", ["insights", RECORDINGS])
async def test_a_server_that_finds_no_record_by_its_key_proves_nothing(
    start_adversary: StartAdversary, dsn: str, stream: str
) -> None:
    """It answers everything with 404 in PostHog's form. The run is partial and marks nothing."""
    server = await start_adversary(envelope="documented")
    server.add(*recordings(12, server.now - HOUR))
    server.insights.rows = [insight(n) for n in range(1, 13)]
    pipeline = Pipeline(server, dsn, streams=(stream,), **WHOLE_PAST)
    await pipeline.sync()
    del server.recordings["r000003"]
    server.insights.rows = server.insights.rows[:-1]
    server.when(lambda asked: asked.path in singles(server, stream), NOT_FOUND)

    report = await pipeline.sync()

    assert report.ending.exit_code == 3
    assert "does not find even a record that is there" in (report.ending.reason or "")
    assert await marked(dsn, stream) == set()

    server.rules.clear()
    assert (await pipeline.sync()).ending.exit_code == 0
    assert len(await marked(dsn, stream)) == 1


async def test_one_record_whose_question_fails_keeps_no_other_in_doubt(
    adversary: Adversary, dsn: str
) -> None:
    """It is skipped, the run says so, and the deleted ones are marked."""
    adversary.insights.rows = [insight(n) for n in range(1, 31)]
    pipeline = Pipeline(adversary, dsn, streams=INSIGHTS)
    await pipeline.sync()
    adversary.insights.rows = adversary.insights.rows[3:]
    adversary.when("insights/1/", foreign.page(502))

    for _ in range(2):
        report = await pipeline.sync()
        assert report.ending.exit_code == 3
        assert "1 could not be asked about" in (report.ending.reason or "")
        assert await marked(dsn, "insights") == {"2", "3"}


# The guard


async def test_the_guard_counts_what_a_stream_lost_within_a_day_whatever_commands_did_it(
    adversary: Adversary, dsn: str
) -> None:
    """All 100 vanish, and six backfills of small windows read them again."""
    midnight = adversary.now.replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(6):
        starts = (midnight - (day + 2) * DAY + n * HOUR for n in range(16))
        adversary.add(*(recording(f"d{day}n{n}", at) for n, at in enumerate(starts)))
    adversary.add(*(recording(f"new{n}", adversary.now - n * HOUR) for n in range(1, 5)))
    pipeline = Pipeline(adversary, dsn, lookback="1h")
    await pipeline.sync()
    adversary.recordings = {k: v for k, v in adversary.recordings.items() if k.startswith("new")}

    reports = []
    for day in range(6):
        since = midnight - (day + 2) * DAY
        reports += await pipeline.backfill(since, since + DAY, again=True)

    assert {report.ending.exit_code for report in reports} == {0, 3}
    assert 0 < len(await marked(dsn)) <= 20
    assert "within a day" in (reports[-1].ending.reason or "")

    accepted = await pipeline.sync(accept_deletions=[RECORDINGS])
    assert (accepted.ending.exit_code, len(await marked(dsn))) == (0, 96), accepted.ending


async def test_what_was_accepted_does_not_count_again(adversary: Adversary, dsn: str) -> None:
    """Forty are accepted; fifteen more on the same day are believed, and thirty more are not."""
    adversary.insights.rows = [insight(n) for n in range(1, 101)]
    pipeline = Pipeline(adversary, dsn, streams=INSIGHTS)
    await pipeline.sync()
    adversary.insights.rows = adversary.insights.rows[40:]
    assert (await pipeline.sync()).ending.exit_code == 3
    assert (await pipeline.sync(accept_deletions=INSIGHTS)).ending.exit_code == 0
    adversary.insights.rows = adversary.insights.rows[15:]
    assert (await pipeline.sync()).ending.exit_code == 0
    adversary.insights.rows = adversary.insights.rows[15:]
    report = await pipeline.sync()
    assert "30 of 60 records have vanished within a day, 15 of them" in (report.ending.reason or "")
    assert len(await marked(dsn, "insights")) == 55


async def test_what_is_accepted_is_kept_when_the_same_sync_looks_for_older_recordings(
    adversary: Adversary, dsn: str
) -> None:
    """The look is stored last. It does not bring back what the run had read at its beginning."""
    adversary.add(*(recording(f"r{n}", adversary.now - HOUR) for n in range(3)))
    pipeline = Pipeline(adversary, dsn)
    accepted_at = "SELECT traits #>> '{accepted,at}' FROM posthog_etl.watermarks"
    await pipeline.sync(accept_deletions=[RECORDINGS])
    first = await value(dsn, accepted_at)
    await value(dsn, "UPDATE posthog_etl.watermarks SET traits = traits - 'before_start'")
    await pipeline.sync(accept_deletions=[RECORDINGS])
    assert await value(dsn, accepted_at) > first


async def test_what_was_accepted_is_marked_over_several_syncs_and_accepted_once(
    adversary: Adversary, dsn: str
) -> None:
    """200 of 300 are accepted, 40 requests per sync: earlier marks do not trip the guard.

    Further deletions are not accepted by that.
    """
    adversary.insights.rows = [insight(n) for n in range(1, 301)]
    pipeline = Pipeline(adversary, dsn, streams=INSIGHTS, confirm_requests=40)
    await pipeline.sync()
    adversary.insights.rows = adversary.insights.rows[200:]
    assert "200 of 300 records have vanished" in ((await pipeline.sync()).ending.reason or "")
    await pipeline.sync(accept_deletions=INSIGHTS)
    codes = [(await pipeline.sync()).ending.exit_code for _ in range(5)]

    assert codes == [3, 3, 3, 3, 0]
    assert await marked(dsn, "insights") == {str(n) for n in range(1, 201)}

    adversary.insights.rows = adversary.insights.rows[40:]
    report = await pipeline.sync()
    assert "40 of 100 records have vanished at once" in (report.ending.reason or "")


async def test_a_question_that_failed_leaves_the_others_accepted(
    adversary: Adversary, dsn: str
) -> None:
    """The accepted deletions stay accepted until each could be asked for."""
    adversary.insights.rows = [insight(n) for n in range(1, 61)]
    pipeline = Pipeline(
        adversary, dsn, streams=INSIGHTS, deletion_guard_share=0.0, deletion_guard_rows=1
    )
    await pipeline.sync()
    adversary.insights.rows = adversary.insights.rows[10:]
    for n in (3, 7):
        adversary.when(f"insights/{n}/", foreign.page(403), times=1)
    await pipeline.sync(accept_deletions=INSIGHTS)
    assert len(await marked(dsn, "insights")) == 8

    report = await pipeline.sync()

    assert (report.ending.exit_code, len(await marked(dsn, "insights"))) == (0, 10), report.ending


async def test_the_readings_of_one_sync_share_the_questions_that_it_may_ask(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """Tail and window ahead together: ten requests and a witness; the rest is reported once."""
    server = await start_adversary(envelope="documented")
    server.add(*recordings(60, server.now - HOUR, HOUR / 20))
    pipeline = Pipeline(server, dsn, confirm_requests=10, deletion_guard_share=1.0)
    await pipeline.sync()
    for each in sorted(server.recordings)[:30]:
        del server.recordings[each]
    await value(dsn, "UPDATE posthog_etl.watermarks SET traits = traits - 'ahead'")
    server.requests.clear()

    report = await pipeline.sync()

    assert len(singles(server, RECORDINGS)) == 10 + 1
    left = await value(dsn, "SELECT count(*) FROM posthog_etl.suspects")
    assert (report.ending.reason or "").startswith(f"{left} records that the list did not show")


# Expiry


@pytest.mark.parametrize("options", [{}, {"envelope": "documented"}], ids=["cursor", "documented"])
async def test_what_the_server_lists_is_alive_whatever_its_expiry_says(
    start_adversary: StartAdversary, dsn: str, options: dict[str, Any]
) -> None:
    """Young and old recordings, at each sync. One that was marked by mistake is unmarked."""
    server = await start_adversary(lists_expired=True, **options)
    server.add(
        recording("new", server.now - HOUR),
        recording("young", server.now - 3 * DAY, retention_days=1),
        recording("old", server.now - 50 * DAY),
    )
    for _ in range(2):
        report = await Pipeline(server, dsn).sync()
        assert (report.ending.exit_code, await marked(dsn, mark="_expired_at")) == (0, set())
    await value(dsn, "UPDATE posthog.session_recordings SET _expired_at = expiry_time")
    await Pipeline(server, dsn, **WHOLE_PAST).backfill(
        server.now - 60 * DAY, window="30d", again=True
    )
    assert await marked(dsn, mark="_expired_at") == set()

    server.lists_expired = False
    report = await Pipeline(server, dsn, **WHOLE_PAST).sync()
    assert (report.ending.exit_code, await marked(dsn)) == (0, set()), report.ending
    assert await marked(dsn, mark="_expired_at") == {"young", "old"}


async def test_what_was_listed_after_its_time_is_marked_once_the_server_drops_it(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """No sync reads that far back, so it is asked for. One that still exists stays alive."""
    server = await start_adversary(lists_expired=True)
    old = [recording(f"old{n}", server.now - (3 + n) * DAY, retention_days=1) for n in range(30)]
    server.add(recording("new", server.now - HOUR), *old)
    pipeline = Pipeline(server, dsn, lookback="26h")
    for _ in range(2):
        assert (await pipeline.sync()).ending.exit_code == 0
    assert await marked(dsn, mark="_expired_at") == set()

    server.lists_expired = False
    old[7].retention_days = 365
    for _ in range(2):
        assert (await pipeline.sync()).ending.exit_code == 0

    assert await marked(dsn, mark="_expired_at") == {each.id for each in old} - {"old7"}
    assert await marked(dsn) == set()


async def many_at_their_end(server: Adversary, dsn: str) -> Pipeline:
    """Load sixty recordings that no sync reads again, and let them reach their expiry."""
    server.add(*(recording(f"new{n}", server.now - n * HOUR) for n in range(1, 4)))
    server.add(
        *(recording(f"old{n}", server.now - (40 + n) * DAY, retention_days=365) for n in range(60))
    )
    pipeline = Pipeline(server, dsn, lookback="26h")
    await pipeline.sync()
    await value(
        dsn,
        "WITH earlier AS (UPDATE posthog_etl.watermarks SET traits = traits || "
        "jsonb_build_object('expired_until', now() - interval '1 hour')) "
        "UPDATE posthog.session_recordings SET expiry_time = now() - interval '1 minute' "
        "WHERE id LIKE 'old%'",
    )
    return pipeline


async def test_many_that_would_expire_and_are_still_there_are_withheld(
    adversary: Adversary, dsn: str
) -> None:
    """The server named a wrong expiry for all. It is asked before anything is marked."""
    pipeline = await many_at_their_end(adversary, dsn)

    for _ in range(2):
        report = await pipeline.sync()
        assert report.ending.exit_code == 3
        assert " records would expire at once" in (report.ending.reason or "")
        assert f"sync --accept-deletions {RECORDINGS}" in (report.ending.reason or "")
        assert await marked(dsn, mark="_expired_at") == set()


async def test_many_that_have_really_expired_are_marked_without_a_word(
    adversary: Adversary, dsn: str
) -> None:
    """After a pause of any length nobody has to accept what the server no longer has."""
    pipeline = await many_at_their_end(adversary, dsn)
    for each in adversary.recordings.values():
        each.retention_days = 30

    report = await pipeline.sync()

    assert (report.ending.exit_code, await marked(dsn)) == (0, set()), report.ending
    assert len(await marked(dsn, mark="_expired_at")) == 60
