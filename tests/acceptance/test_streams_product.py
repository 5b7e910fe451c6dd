"""What product teams make: changed, hidden, shown again, deleted and restored, it stays true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import Struct

from tests.conftest import StartSandbox
from tests.support.pipeline import Pipeline
from tests.support.streams import NOTHING, asked, endings, marked, put, remove, untruths

OPTIONS: dict[str, Any] = {**NOTHING, "others": 6, "insights": 4}
each_flavour = pytest.mark.parametrize("flavour", ["cloud", "docs"])


class Step(Struct, frozen=True):
    """What happens at the source, and which rows are marked deleted after the next sync.

    written: how many rows that sync writes.
    """

    happens: Sequence[dict[str, Any]]
    marked: Sequence[str] = ()
    written: int = 1


class Case(Struct, frozen=True):
    """A stream: what happens to it, and how many requests a sync takes when nothing did."""

    stream: str
    steps: Sequence[Step]
    requests: int = 1
    key: str = "id"


CASES = (
    Case(
        "annotations",
        [
            Step([put("annotation", id=10_001, content="Changed")]),
            Step([put("insight", id=10_002, name="Renamed")], written=0),
            # Nothing shows an annotation of a deleted insight until the insight is back.
            Step([put("insight", id=10_002, deleted=True)], ["10001"]),
            Step([put("insight", id=10_002, deleted=False)]),
            Step([put("annotation", id=10_002, deleted=True)], ["10002"]),
            Step([put("annotation", id=10_002, deleted=False)]),
        ],
    ),
    Case(
        "actions",
        [
            Step([put("action", id=10_001, steps=[{"event": "paid"}])]),
            # The list leaves it out, and it is still found by its id.
            Step([put("action", id=10_002, deleted=True)]),
            Step([put("action", id=10_002, deleted=False)]),
            Step([remove("action", id=10_002)], ["10002"]),
        ],
    ),
)


@each_flavour
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stream)
async def test_what_is_changed_hidden_or_deleted_is_as_the_source_has_it(
    start_sandbox: StartSandbox, dsn: str, case: Case, flavour: str
) -> None:
    """Step by step, and only what happened is written; in between a sync costs what it must."""
    sandbox = await start_sandbox(**OPTIONS, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=(case.stream,))
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await untruths(dsn, sandbox, case.stream) == []
    for step in case.steps:
        sandbox.control.change(*step.happens)
        report = await pipeline.sync()
        assert (report.ending.exit_code, report.ending.reason) == (0, None), step
        assert (await untruths(dsn, sandbox, case.stream), step.happens) == ([], step.happens)
        assert await marked(dsn, case.stream, case.key) == {*step.marked}, step
        assert (report.rows_inserted, report.rows_updated) == (0, step.written), step
    quiet = await pipeline.sync()
    assert (quiet.requests, quiet.rows_updated) == (case.requests, 0)


@each_flavour
async def test_a_list_that_has_a_count_and_no_next_is_read_to_its_count(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """In pages of 20 or more if the server knows `limit`; else in one answer."""
    sandbox = await start_sandbox(**{**NOTHING, "others": 70}, flavour=flavour)
    for most in (None, 20):
        if most is not None:
            match = {"path": "/actions"}
            sandbox.control.add_faults({"match": match, "fault": {"clamp_limit": most}})
        sandbox.control.reset_requests()
        pipeline = Pipeline(sandbox, dsn, streams=("actions",))
        assert endings(await pipeline.sync_each()) == {}
        assert await untruths(dsn, sandbox, "actions") == []
        assert (len(asked(sandbox, "/actions")) > 1) == (flavour == "cloud")
    gone = put("action", id=10_070, deleted=True)
    sandbox.control.change(gone)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, "actions") == []
