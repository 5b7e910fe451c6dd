"""How a run ends and what its report says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.statuses import Fault
from etl.errors import (
    EXIT_FAILED,
    EXIT_HELD,
    EXIT_KEY_REFUSED,
    EXIT_PARTIAL,
    EXIT_PAUSED,
    EXIT_PRECEDENCE,
    EXIT_SUCCEEDED,
    BudgetSpent,
    DestinationError,
    DestinationUnavailable,
    EtlError,
    KeyRefused,
    LeaseHeld,
    LeaseLost,
    ListingBroken,
    RequestRefused,
    RowsRefused,
    SourceOverloaded,
    SourceUnavailable,
    Stopped,
    StreamUnavailable,
    Throttled,
    exit_code_of,
)
from etl.loaders.loader import UnseenCounts
from etl.loaders.row_counts import Count
from etl.runs.report import (
    Ending,
    Report,
    Tally,
    codes_of_streams,
    defect_ending,
    ending_of,
    ending_of_tally,
)

ENDINGS: list[tuple[EtlError, str, int]] = [
    (KeyRefused("no"), "failed", EXIT_KEY_REFUSED),
    (SourceUnavailable("down"), "failed", EXIT_FAILED),
    (SourceOverloaded("down"), "failed", EXIT_FAILED),
    (Throttled("slow"), "failed", EXIT_FAILED),
    (RequestRefused("what"), "failed", EXIT_FAILED),
    (DestinationError("no"), "failed", EXIT_FAILED),
    (DestinationUnavailable("down"), "failed", EXIT_FAILED),
    (RowsRefused("no"), "failed", EXIT_FAILED),
    (BudgetSpent("spent", wait_s=61.0), "paused", EXIT_PAUSED),
    (LeaseHeld("held"), "held", EXIT_HELD),
    (LeaseLost("lost"), "held", EXIT_HELD),
    (StreamUnavailable("no"), "partial", EXIT_PARTIAL),
    (ListingBroken("loop"), "partial", EXIT_PARTIAL),
    (Stopped("stop"), "partial", EXIT_PARTIAL),
]


@pytest.mark.parametrize(
    ("error", "status", "code"), ENDINGS, ids=[type(e).__name__ for e, _, _ in ENDINGS]
)
def test_no_error_ends_in_success(error: EtlError, status: str, code: int) -> None:
    """Each has its status, its exit code and its own message as the reason."""
    ending = ending_of(error)
    assert (ending.status, ending.exit_code, ending.reason) == (status, code, str(error))
    assert ending.paused_for_s == (61.0 if status == "paused" else None)


def test_only_a_complete_reading_without_rejects_succeeded() -> None:
    """A run that was read to its end but is unsure, or has rejects, is partial."""
    assert ending_of_tally(Tally()) == Ending("succeeded", EXIT_SUCCEEDED)
    rejected = ending_of_tally(Tally(rejected=3))
    assert (rejected.status, rejected.exit_code) == ("partial", EXIT_PARTIAL)
    assert "could not be stored: 3" in (rejected.reason or "")
    for count in (0, 3):
        changing = ending_of_tally(Tally(complete=False, rejected=count))
        assert (changing.status, changing.exit_code) == ("partial", EXIT_PARTIAL)
        assert "may be missing" in (changing.reason or "")


def test_a_defect_of_ours_says_so() -> None:
    """And the run has failed."""
    ending = defect_ending(KeyError("x"))
    assert (ending.status, ending.exit_code) == ("failed", EXIT_FAILED)
    assert ending.reason == "Unexpected KeyError: 'x'"


@given(st.lists(st.sampled_from([0, 1, 3, 4, 5, 6])))
def test_the_gravest_end_of_all_is_the_commands(codes: list[int]) -> None:
    """The first of 5, 1, 6, 4, 3 that occurred; 0 only if none of them did."""
    assert EXIT_PRECEDENCE == (5, 1, 6, 4, 3)
    code = exit_code_of(codes)
    assert (code == 0) == (not any(codes))
    if code:
        assert code in codes
        assert not set(EXIT_PRECEDENCE[: EXIT_PRECEDENCE.index(code)]) & set(codes)


def test_a_message_is_one_line_cause_then_remedy() -> None:
    """With one full stop in between."""
    assert str(EtlError("It broke.", remedy="Mend it")) == "It broke. Mend it"
    assert str(EtlError("It broke", remedy="Mend it")) == "It broke. Mend it"
    assert str(EtlError("It broke")) == "It broke"


def test_a_report_is_a_json_document() -> None:
    """With all its fields; instants in ISO 8601."""
    report = Report(
        project_id=1,
        stream="session_recordings",
        unit="tail",
        ending=ending_of(BudgetSpent("spent", wait_s=61.0)),
        run_id="r",
        seconds=1.23456,
        records_read=10,
        records_read_fast=9,
        rejected=1,
        paused_until=datetime(2026, 5, 4, 12, tzinfo=UTC),
        rows={"persons": Count(3), "groups": Count(9, exact=False)},
    )
    document = json.loads(json.dumps(report.as_json()))
    assert document == {
        "project_id": 1,
        "stream": "session_recordings",
        "unit": "tail",
        "status": "paused",
        "reason": "spent",
        "run_id": "r",
        "seconds": 1.235,
        "records_read": 10,
        "records_read_fast": 9,
        "rows_inserted": 0,
        "rows_updated": 0,
        "rejected": 1,
        "requests": 0,
        "bytes_read": 0,
        "waited_s": 0.0,
        "paused_until": "2026-05-04T12:00:00+00:00",
        "forecast_requests": None,
        "forecast_exact": None,
        "complete_until": None,
        "rows": {"persons": 3, "groups": 9},
        "rows_estimated": ["groups"],
    }


REFUSED = ending_of(StreamUnavailable("not in your plan"))
WELL = ending_of_tally(Tally())
ONCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("endings", "named", "codes"),
    [
        ({"a": (WELL, ONCE), "b": (REFUSED, None)}, set(), [0]),
        ({"a": (WELL, ONCE), "b": (REFUSED, None)}, {"b"}, [0, EXIT_PARTIAL]),
        ({"a": (WELL, ONCE), "b": (REFUSED, ONCE)}, set(), [0, EXIT_PARTIAL]),
        ({"a": (REFUSED, None), "b": (REFUSED, None)}, set(), [EXIT_PARTIAL, EXIT_PARTIAL]),
    ],
    ids=["nobody named it", "it was named", "it was there once", "nothing is there"],
)
def test_a_stream_that_nobody_named_and_that_never_was_is_no_reason_for_partial(
    endings: dict[str, tuple[Ending, datetime | None]], named: set[str], codes: list[int]
) -> None:
    """Else a plan without groups would make every sync partial."""
    reports = [
        Report(1, stream, "tail", ending, complete_until=until)
        for stream, (ending, until) in endings.items()
    ]
    assert codes_of_streams(reports, named) == codes


def test_a_reading_says_what_was_at_fault() -> None:
    """So that each trouble is one alert: withheld deletions, or rejects if nothing else is."""
    withheld = UnseenCounts(suspects=30, alive=40, unasked=0, lost=0)
    for tally, fault in (
        (Tally(), None),
        (Tally(rejected=2), Fault.REJECTS),
        (Tally(rejected=2, unproven=True), None),
        (Tally(withheld=withheld), Fault.WITHHELD),
        (Tally(withheld=withheld, rejected=2), Fault.WITHHELD),
        (Tally(unproven=True), None),
    ):
        assert ending_of_tally(tally, "insights").fault == fault


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (KeyRefused("refused"), Fault.KEY),
        (StreamUnavailable("refused"), Fault.UNAVAILABLE),
        (SourceUnavailable("down"), Fault.SOURCE),
        (DestinationUnavailable("down"), Fault.DATABASE),
        (Stopped("stopped"), Fault.STOPPED),
        (BudgetSpent("spent", wait_s=1), None),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Exception) else "",
)
def test_an_error_says_what_was_at_fault(error: EtlError, fault: Fault | None) -> None:
    """In a word, without the words of the error."""
    assert ending_of(error).fault == fault
