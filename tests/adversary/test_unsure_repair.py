"""A repair from a list that never comes to rest; the comparison after it decides."""

from __future__ import annotations

from datetime import timedelta

from tests.adversary.rows import recordings
from tests.adversary.server import Adversary, Asked
from tests.support.pipeline import Pipeline
from tests.support.sql import select

# A comparison reads this list twice. A load whose passes do not agree reads it five times.
_PASSES, _TRIES = 2, 5


async def test_a_repair_that_was_unsure_of_the_list_is_judged_by_the_comparison_after_it(
    adversary: Adversary, dsn: str
) -> None:
    """It is called repaired, and its exit code says the same."""
    adversary.envelope, adversary.counts = "documented", False
    adversary.add(*recordings(60, adversary.now - timedelta(hours=30), ties=45))
    pipeline = Pipeline(adversary, dsn)
    await pipeline.sync()
    some = "SELECT id FROM posthog.session_recordings ORDER BY id LIMIT 3"
    await select(dsn, f"DELETE FROM posthog.session_recordings WHERE id IN ({some})")
    begun: list[Asked] = []

    def disturb(asked: Asked) -> None:
        if asked.query.get("offset", "0") == "0":
            begun.append(asked)
        is_repair = _PASSES < len(begun) <= _PASSES + _TRIES
        adversary.ties = "by offset" if is_repair else "stable"

    adversary.before_list.append(disturb)

    report = await pipeline.verify(repair=True)

    assert report.found is not None
    assert report.found.total("missing") == 3
    assert (report.ending.exit_code, report.ending.reason) == (0, None)
    assert report.found.repaired
    ended = await select(dsn, "SELECT status FROM posthog_etl.runs ORDER BY started_at")
    assert [run["status"] for run in ended][-3:] == ["partial", "partial", "succeeded"]
