"""The tables of HogQL against the truth, which is worked out by other code."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.sandbox.truth import Truth
from tests.unit.sandbox.hogql import Asking

_TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "events": ("events", {"session_id": "$session_id", "window_id": "$window_id"}),
    "sessions": ("sessions", {name: f"${name}" for name in (
        "start_timestamp", "end_timestamp", "entry_current_url", "entry_pathname",
        "entry_hostname", "end_current_url", "num_uniq_urls", "pageview_count",
        "autocapture_count", "screen_count", "session_duration",
    )}),
    "persons": ("persons_by_query", {"uuid": "id"}),
    "person_distinct_ids": ("distinct_ids_by_query", {"person_uuid": "person_id"}),
    "groups": ("groups_by_query", {
        "group_type_index": "index", "group_key": "key", "group_properties": "properties",
    }),
    "system.cohorts": ("cohorts_by_query", {}),
    "cohort_people": ("cohort_people", {"person_uuid": "person_id"}),
    "session_replay_events": ("replays_by_query", {}),
}  # fmt: skip
_JSON = ("group_properties", "filters", "groups", "query")


def _row(stream: str, row: dict[str, Any]) -> str:
    parsed = {
        name: json.loads(value)
        if (name in _JSON or (name == "properties" and stream != "events"))
        and isinstance(value, str)
        else int(value)
        if isinstance(value, bool)
        else value
        for name, value in row.items()
    }
    return json.dumps(parsed, sort_keys=True)


def _answered(asking: Asking, table: str) -> list[str]:
    stream, names = _TABLES[table]
    truth = asking.truth(stream)
    if not truth:
        return []
    columns = list(truth[0])
    shown = ", ".join(f"`{names.get(name, name)}`" for name in columns)
    sql = f"select {shown} from {table} limit 50000"
    if table == "cohort_people":
        both = " union all ".join(
            f"select {shown} from {each}" for each in ("cohort_people", "static_cohort_people")
        )
        sql = f"select {shown} from ({both}) limit 50000"
    return [_row(stream, dict(zip(columns, row, strict=True))) for row in asking.rows(sql)]


@pytest.mark.parametrize("table", _TABLES)
def test_a_table_holds_exactly_the_truth_after_every_kind_of_change(table: str) -> None:
    """Merges, deletions, moved ids, late events, changed groups and cohorts, another day."""
    asking = Asking(recordings=120, event_ties=5)
    owners = asking.project.owners
    first, second, third, fourth = (owners.uuid(number) for number in range(4))
    asking.change(op="merge_persons", **{"from": first, "into": second})
    asking.change(op="delete_person", uuid=third)
    asking.change(op="change_person", uuid=fourth, set={"plan": "gold"})
    asking.change(op="move_distinct_id", distinct_id=owners.drawn_ids(5)[0], to=fourth)
    asking.change(op="add_events", count=4, session_id="019df276-b727-7240-807e-35f71e28edcb")
    asking.change(op="put", kind="group", group_type_index=0, group_key="new", group_properties={})
    asking.change(op="put", kind="cohort", id=7, persons=[fourth])
    asking.change(op="delete_recording", id=asking.project.recording_id(3))
    stream = _TABLES[table][0]
    for days in (0, 1, 100):
        asking.world.clock.advance(days * 86_400)
        expected = [_row(stream, row) for row in asking.truth(stream)]
        assert expected
        assert sorted(_answered(asking, table)) == sorted(expected)


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 40), ties=st.integers(1, 30), added=st.integers(0, 60),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_a_walk_by_time_and_key_reads_every_event_once(
    size: int, ties: int, added: int, seed: int
) -> None:
    """However many share an instant, and however they meet the end of a page."""
    asking = Asking(recordings=15, event_ties=ties, seed=seed)
    if added:
        asking.change(op="add_events", count=added)
    at, uuid = "1970-01-01 00:00:00", "00000000-0000-0000-0000-000000000000"
    seen: list[str] = []
    while True:
        page = asking.rows(
            "select uuid, created_at from events where (created_at, uuid) > "
            "(toDateTime64({at}, 6, 'UTC'), {uuid}) order by created_at, uuid limit {size}",
            at=at, uuid=uuid, size=size,
        )  # fmt: skip
        seen += [row[0] for row in page]
        if len(page) < size:
            break
        uuid, at = page[-1][0], page[-1][1].removesuffix("Z")
    assert sorted(seen) == [row["uuid"] for row in asking.truth("events")]


def test_events_outlive_their_person_and_recording_and_follow_merges() -> None:
    """The person of an event changes with a merge, and stays after a deletion."""
    asking = Asking()
    count = asking.value("select count() from events")
    person = asking.value("select person_id from events where person_mode = 'full' limit 1")
    heir = asking.value("select id from persons where id != {x} limit 1", x=person)
    mine = "select count() from events where person_id = {x}"
    together = asking.value(mine, x=person) + asking.value(mine, x=heir)
    asking.change(op="merge_persons", **{"from": person, "into": heir})
    assert asking.value(mine, x=heir) == together
    assert asking.value("select count() from persons where id = {x}", x=person) == 0
    assert asking.value("select is_deleted from raw_persons where id = {x}", x=person) == 1
    asking.change(op="delete_person", uuid=heir)
    assert asking.value(mine, x=heir) == together
    assert asking.value("select count() from events") == count


def test_replays_know_recordings_that_the_list_hides() -> None:
    """Deleted ones, marked, and expired ones."""
    asking = Asking()
    gone = asking.project.recording_id(3)
    asking.change(op="delete_recording", id=gone)
    marked = "select session_id, is_deleted from session_replay_events where is_deleted = 1"
    assert asking.rows(marked) == [[gone, 1]]
    deleted = "select session_id from system.session_recordings where deleted = 1"
    assert asking.rows(deleted) == [[gone]]
    before = asking.value("select count() from session_replay_events")
    asking.world.clock.advance(3000 * 86_400)
    assert asking.value("select count() from session_replay_events") >= before


def test_replays_agree_with_the_list_of_recordings() -> None:
    """In all that both know, for every recording that the list shows."""
    asking = Asking(recordings=300)
    asking.change(op="start_session", id="added", duration_s=500)
    listed = list(Truth(asking.project, asking.options, asking.world.clock.now_us()).recordings())
    shared = ["distinct_id", "start_time", "end_time", "snapshot_source", "snapshot_library",
              "retention_period_days", "click_count", "keypress_count", "mouse_activity_count",
              "console_log_count", "console_warn_count", "console_error_count"]  # fmt: skip
    columns = ", ".join(shared)
    sql = f"select session_id, {columns} from session_replay_events limit 50000"
    replays = {row[0]: row[1:] for row in asking.rows(sql)}
    assert len(listed) > 250
    for each in listed:
        assert replays[each["id"]] == [each[name] for name in shared]
    seconds = "select session_id, active_milliseconds from session_replay_events limit 50000"
    active = dict(asking.rows(seconds))
    assert all(active[each["id"]] // 1000 == each["active_seconds"] for each in listed)


def test_a_sandbox_may_have_no_events() -> None:
    """Nor sessions then; replays it has."""
    asking = Asking(events_per_recording=0)
    assert asking.value("select count() from events") == 0
    assert asking.value("select count() from sessions") == 0
    assert asking.value("select count() from session_replay_events") > 0


def test_an_event_can_be_shown_twice_and_is_true_once() -> None:
    """Until the server has merged them; deleting removes all copies."""
    asking = Asking(recordings=0)
    (uuid,) = asking.change(op="add_events", copies=2, distinct_id="x")["uuids"]
    assert asking.value("select count() from events where uuid = {x}", x=uuid) == 2
    assert len(asking.truth("events")) == 1
    asking.change(op="delete_events", uuids=[uuid])
    assert asking.value("select count() from events") == len(asking.truth("events")) == 0
    with pytest.raises(ValueError, match="no event"):
        asking.change(op="delete_events", uuids=["gone"])


@pytest.mark.parametrize("name", ["NUL", "half"])
def test_some_generated_properties_hold_what_postgres_does_not_take(name: str) -> None:
    """As escapes within the JSON text."""
    found = [row["properties"] for row in Asking(recordings=400).truth("events")]
    assert any({"NUL": "\\u0000", "half": "\\ud83d"}[name] in text for text in found)
