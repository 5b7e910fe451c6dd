"""What is an alert, and what is told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from etl.core.alerts import Event, Facts, Key, Kind, Line, Message, Rules, Trouble, changes, found
from etl.core.statuses import FAILED, PARTIAL, Fault

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RETRY = "posthog-etl sync insights"
RULES = Rules(tuple(Kind), {"": DAY})


def facts(**changed: object) -> Facts:
    """A stream that is well, but for what is changed."""
    well = {"succeeded_at": NOW - HOUR, "watched_since": NOW - 9 * DAY}
    return Facts(1, "insights", **{**well, **changed})


def kinds(each: Facts, rules: Rules = RULES) -> list[str]:
    """The kinds of alerts that are open by these facts."""
    return sorted(str(key.kind) for key in found([each], rules, NOW))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"troubles": [Trouble(FAILED, Fault.KEY, RETRY)]}, ["failed"]),
        ({"troubles": [Trouble(PARTIAL, None, RETRY)]}, ["partial"]),
        ({"troubles": [Trouble(PARTIAL, Fault.WITHHELD, RETRY)]}, ["withheld"]),
        ({"troubles": [Trouble(PARTIAL, Fault.REJECTS, RETRY)], "rejects": 2}, ["rejects"]),
        ({"differences": 1}, ["differences"]),
        ({"drift": [("insights", "new"), ("insights", "newer")]}, ["drift", "drift"]),
        ({"succeeded_at": NOW - DAY}, []),
        ({"succeeded_at": NOW - DAY - HOUR}, ["stale"]),
        ({"succeeded_at": None}, ["stale"]),
        ({"succeeded_at": None, "watched_since": NOW - HOUR}, []),
        ({"succeeded_at": None, "watched_since": None}, []),
        ({"succeeded_at": NOW - 9 * DAY, "watched_since": None}, []),
    ],
    ids=str,
)
def test_each_kind_is_found_by_its_facts(changed: dict[str, object], expected: list[str]) -> None:
    """And by no others."""
    assert kinds(facts(**changed)) == expected


def test_a_stream_that_nobody_named_and_that_never_was_available_is_no_alert() -> None:
    """As it does not change the exit code of a sync."""
    troubles = [Trouble(PARTIAL, Fault.UNAVAILABLE, RETRY)]
    assert kinds(facts(troubles=troubles)) == ["partial"]
    assert kinds(facts(troubles=troubles, succeeded_at=None, unavailable=True)) == []


def test_rules_leave_out_kinds_and_give_streams_their_own_time() -> None:
    """A query that is read less often may be so much longer without a success."""
    never = facts(succeeded_at=None, rejects=5)
    assert kinds(never, Rules((Kind.REJECTS,), {"": DAY})) == ["rejects"]
    assert kinds(never, Rules(tuple(Kind), {"": DAY}, rejects_above=5)) == ["stale"]
    assert kinds(facts(succeeded_at=None), Rules(tuple(Kind), {"": DAY, "insights": None})) == []
    for every, expected in ((DAY, []), (HOUR, ["stale"])):
        rules = Rules(tuple(Kind), {"": DAY}, every={"insights": every})
        assert kinds(facts(succeeded_at=NOW - 36 * HOUR), rules) == expected


def test_with_its_own_kind_switched_off_a_withheld_deletion_is_told_as_partial() -> None:
    """So it is told all the same."""
    others = tuple(kind for kind in Kind if kind is not Kind.WITHHELD)
    withheld = facts(troubles=[Trouble(PARTIAL, Fault.WITHHELD, RETRY)])
    assert kinds(withheld, Rules(others, {"": DAY})) == ["partial"]


def test_the_name_of_a_field_that_may_be_somebodys_data_is_not_told() -> None:
    """Only what looks like the name of a field of an API is."""
    told = found([facts(drift=[("insights", "ada@example.com")])], RULES, NOW)
    assert list(told) == [Key(1, "insights", Kind.DRIFT, "insights")]
    assert "ada" not in str(told)


def test_what_began_and_ended_is_the_difference_of_two_evaluations() -> None:
    """What stays open is neither."""
    stays, over, new = (Key(1, stream, Kind.FAILED) for stream in ("a", "b", "c"))
    changed = changes([stays, over], {stays: "said", new: "said anew"})
    assert (changed.began, list(changed.ended)) == ({new: "said anew"}, [over])


def test_a_message_says_how_many_alerts_began_and_ended_and_what_may_be_a_repetition() -> None:
    """One line for each."""
    began = Line("1", Key(0, "insights", Kind.STALE), Event.BEGAN, "not read", NOW)
    ended = Line(
        *("2", Key(1, "insights", Kind.DRIFT, "insights.new"), Event.ENDED, "new", NOW - HOUR),
        *(NOW, False, True),
    )
    message = Message("eu.posthog.com", [began, ended])
    assert message.text.splitlines() == [
        "posthog-etl (eu.posthog.com): 1 alert, 1 alert over",
        "stale: insights, project @current: not read",
        "Over: drift: insights, project 1, insights.new, since 2026-05-01 11:00 UTC "
        "(this may be a repetition)",
    ]
    assert [each["project_id"] for each in message.as_json()["alerts"]] == [None, 1]
