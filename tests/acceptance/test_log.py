"""The log of a real run: what belongs together can be found."""

from __future__ import annotations

import re
from collections import defaultdict

from etl.logs import ABOUT_A_REQUEST
from tests.conftest import StartSandbox
from tests.support.command import Command

LIST = {"path": "session_recordings"}


async def test_all_lines_about_one_request_share_its_id_and_no_others_have_it(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """One request failed twice, one answer was unreadable, one page was too large."""
    sandbox = await start_sandbox(recordings=900)
    for at, fault in ((2, {"status": 503}), (3, {"status": 503}), (5, {"not_json": True})):
        sandbox.control.add_faults({"match": LIST, "at": at, "fault": fault})
    sandbox.control.add_faults({"match": LIST, "at": 8, "fault": {"status": 504}})
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PAGE_SIZE_RECORDS="100")
    result = await command.run("sync", "--debug")
    assert result.code == 0, result.err

    told: dict[str, list[str]] = defaultdict(list)
    for event in result.events:
        assert ("request_id" in event) == (event["event"] in ABOUT_A_REQUEST), event
        if "request_id" in event:
            assert re.fullmatch(r"[0-9a-f]{8}", event["request_id"])
            told[event["request_id"]].append(event["event"])
    stories = list(told.values())
    assert ["request.failed", "request.failed", "page.fetched"] in stories
    assert ["page.fetched", "page.unreadable"] in stories
    assert ["page.shrunk"] in stories
    assert stories.count(["page.fetched"]) >= 4


async def test_every_line_of_a_unit_names_its_run(start_sandbox: StartSandbox, dsn: str) -> None:
    """From the first to the last, whoever says it."""
    sandbox = await start_sandbox(recordings=100)
    result = await Command(sandbox.url, dsn).run("sync", "--debug")
    assert result.code == 0, result.err
    names = [event["event"] for event in result.events]
    of_the_unit = result.events[names.index("run.started") : names.index("run.finished") + 1]
    assert {"page.fetched", "batch.loaded"} <= {event["event"] for event in of_the_unit}
    bound = {
        (event["run_id"], event["project_id"], event["stream"], event["unit"])
        for event in of_the_unit
    }
    assert len(bound) == 1
