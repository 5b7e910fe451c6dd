"""Defect 6: a value that only Postgres refuses rejects one record, wherever it comes first."""

from __future__ import annotations

import pytest

from tests.adversary.rows import insight, person_of, recording
from tests.adversary.server import Adversary
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value

MARK = '"TOO LARGE FOR JSONB"'
REASONS = "SELECT record_key, reason FROM posthog_etl.rejects"


@pytest.fixture
def adversary(adversary: Adversary) -> Adversary:
    """A server that sends a number that is valid JSON but that jsonb refuses."""
    adversary.rewrite = lambda text: text.replace(MARK, "1e131073")
    return adversary


async def test_the_only_person_of_a_first_batch_is_set_aside_and_the_rest_loads(
    adversary: Adversary, command: Command, dsn: str
) -> None:
    """The reason names the value; no error says that a table is missing."""
    person = person_of(1, n=MARK.strip('"'))
    adversary.add(recording("a", adversary.now, person=person))
    adversary.add(recording("b", adversary.now, person=person))

    result = await command.run("sync")

    assert result.code == 3
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recordings") == 2
    rejects = await select(dsn, REASONS)
    assert [row["reason"].split(":")[0] for row in rejects] == ["persons"]
    assert "numeric" in rejects[0]["reason"]


@pytest.mark.parametrize("many", [1, 3])
async def test_so_is_the_first_recording_of_a_connection(
    adversary: Adversary, dsn: str, many: int
) -> None:
    """Alone or with others, with a connection of its own for each transaction."""
    references = [{"n": MARK.strip('"')}]
    adversary.add(recording("bad", adversary.now, external_references=references))
    adversary.add(*(recording(f"r{n}", adversary.now) for n in range(1, many)))
    pipeline = Pipeline(adversary, dsn, connection_per_transaction=True)

    report = await pipeline.sync()

    assert report.ending.exit_code == 3
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recordings") == many - 1
    assert await value(dsn, "SELECT count(*) FROM posthog.persons") == 1
    (reject,) = await select(dsn, REASONS)
    assert (reject["record_key"], reject["reason"].split(":")[0]) == ("bad", "session_recordings")


async def test_where_lists_are_decoded_it_is_repaired(adversary: Adversary, dsn: str) -> None:
    """Other lists treat such a number like NaN: it becomes null and is marked as repaired."""
    adversary.insights.rows = [insight(1, filters={"n": MARK.strip('"')}), insight(2)]

    report = await Pipeline(adversary, dsn, streams=("insights",)).sync()

    assert report.ending.exit_code == 0
    found = await select(
        dsn, "SELECT filters->'n' AS n, _repaired FROM posthog.insights WHERE id=1"
    )
    assert [tuple(row.values()) for row in found] == [(None, ["filters"])]
