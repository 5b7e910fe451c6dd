"""Generated recordings, their pieces, ids and persons."""

import statistics
from collections import Counter
from itertools import pairwise
from uuid import UUID

import pytest

from etl.sandbox.clock import DAY_US, to_us
from etl.sandbox.generate import LONGEST_MS, Columns
from etl.sandbox.ids import find_generated, generated_id
from etl.sandbox.people import People, ids_of_generated
from etl.sandbox.pieces import SLOWEST_US, all_arrived_us, generated_pieces, whole_activity
from etl.sandbox.world import Project, World
from tests.unit.sandbox.reader import small

_OPTIONS = small(recordings=3000)


@pytest.fixture(scope="module")
def project() -> Project:
    """The data of 3,000 recordings."""
    return World(_OPTIONS).projects[1]


def test_the_same_seed_gives_the_same_data_and_another_seed_other_data() -> None:
    """However far the clock has moved meanwhile."""
    started_us = to_us(_OPTIONS.now) if _OPTIONS.now else 0
    one, two = (Columns(_OPTIONS, 1, started_us) for _ in range(2))
    two.grow_to(started_us + 10 * DAY_US)
    assert len(two) > len(one)
    ids = [generated_id(one, n) for n in range(3000)]
    assert ids == [generated_id(two, n) for n in range(3000)]
    assert ids != [generated_id(Columns(small(seed=2), 1, started_us), n) for n in range(300)]
    assert ids[:300] != [generated_id(Columns(_OPTIONS, 2, started_us), n) for n in range(300)]


def test_pieces_lie_in_order_and_add_up_to_the_whole(project: Project) -> None:
    """And the last piece arrives when the session says so."""
    columns = project.columns
    for number in range(3000):
        pieces = generated_pieces(columns, number)
        assert pieces[0].start_us == columns.start_us[number]
        end_us = columns.start_us[number] + columns.duration_ms[number] * 1000
        assert pieces[-1].end_us == end_us
        for piece, following in pairwise(pieces):
            assert piece.start_us <= piece.end_us <= following.start_us
        for piece in pieces:
            assert piece.arrives_us > piece.end_us
            assert piece.arrives_us <= piece.end_us + SLOWEST_US
        sums = tuple(sum(column) for column in zip(*(p.activity for p in pieces), strict=True))
        assert sums == whole_activity(columns, number)
        assert max(piece.arrives_us for piece in pieces) <= all_arrived_us(columns, number)


def test_lengths_reach_from_nothing_to_a_day(project: Project) -> None:
    """With a median of about a minute and a half."""
    lengths = project.columns.duration_ms[:3000]
    assert min(lengths) == 0
    assert 60_000 < statistics.median(lengths) < 130_000
    assert 12 * 3600 * 1000 < max(lengths) < LONGEST_MS


def test_some_pieces_are_hours_late(project: Project) -> None:
    """First and last pieces, pieces in the middle, and whole recordings."""
    late = 0
    for number in range(3000):
        pieces = generated_pieces(project.columns, number)
        late += any(piece.arrives_us > piece.end_us + 3600 * 1_000_000 for piece in pieces)
    assert 5 < late < 100
    assert set(project.columns.late[:3000]) == {0, 1, 2, 3, 4}


def test_every_id_is_found_and_no_other(project: Project) -> None:
    """UUIDv7 text and the older forms."""
    columns, by_start = project.columns, project.by_start()
    ids = [generated_id(columns, number) for number in range(3000)]
    assert len(set(ids)) == 3000
    for number, each in enumerate(ids):
        assert find_generated(columns, by_start, each) == number
    forms = Counter("uuid" if len(each) == 36 else each[:7] == "session" for each in ids)
    assert forms["uuid"] > 2900
    assert forms[True] > 0
    assert forms[False] > 0
    for each in ids:
        if len(each) == 36:
            assert (UUID(each).version, str(UUID(each))) == (7, each)
    for other in ("", "x", "session", "session99999999", "sessionx", "-", "²", ids[0][:-1] + "g"):
        assert find_generated(columns, by_start, other) is None
    changed = ids[0][:-1] + ("0" if ids[0][-1] != "0" else "1")
    assert find_generated(columns, by_start, changed) is None


def test_recordings_are_ordered_by_start_and_then_by_id() -> None:
    """Also if many share one start."""
    project = World(small(recordings=500, start_ties=9)).projects[1]
    columns = project.columns
    keys = [(columns.start_us[n], generated_id(columns, n)) for n in project.by_start()]
    assert keys == sorted(keys)
    assert len({start for start, _ in keys}) < len(keys) / 8


def test_few_persons_have_many_recordings(project: Project) -> None:
    """And most have some."""
    counts = Counter(project.columns.person[:3000])
    assert max(counts.values()) > 30
    assert len(counts) > 250


def test_persons_have_ids_of_their_own() -> None:
    """No two share a distinct id or a UUID; some have more than ten distinct ids."""
    people = People(1, 1, 2000, 0, 30.0)
    persons = [people.person(number) for number in range(2000)]
    distinct_ids = [each for person in persons for each in person.distinct_ids]
    assert len(distinct_ids) == len(set(distinct_ids))
    assert len({person.uuid for person in persons}) == 2000
    assert {UUID(person.uuid).version for person in persons} == {4}
    for number, person in enumerate(persons):
        assert len(person.distinct_ids) == ids_of_generated(number)
        assert person.distinct_ids == people.distinct_ids(number)
        assert person.created_us < -30 * DAY_US
    assert max(len(person.distinct_ids) for person in persons) > 10
    assert any("email" not in person.properties for person in persons)
    assert any(person.last_seen_us is None for person in persons)
