"""Configured queries: what is asked for, page by page, and which table holds the rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from etl.core.lookback import Lookback
from etl.core.query import (
    ANSWER_BYTES,
    FEWEST_ROWS,
    MOST_ROWS,
    QueryPlace,
    QuerySpec,
    in_utc,
    keys_query,
    kind_of,
    may_be_null,
    page_query,
    query_table,
    table_of,
)
from etl.core.stream import Field, Kind

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
EVENTS = QuerySpec("events", "SELECT * FROM events", key=("uuid",), cursor="created_at")
TYPES = {"created_at": "DateTime64(6, 'UTC')", "uuid": "UUID"}
INSTANTS = st.integers(0, 4 * 10**15).map(lambda us: NOON + timedelta(microseconds=us - 2 * 10**15))


def place(**changes: Any) -> QueryPlace:
    """A place at the beginning of an hour."""
    since, until = NOON - timedelta(hours=1), NOON
    first = QueryPlace(fingerprint="f", began_at=NOON, since=since, until=until, part=until)
    return replace(first, **changes)


def test_the_next_page_begins_after_time_and_key_of_the_last_row() -> None:
    """By the time alone, rows with the time of the last one would be lost or come twice."""
    text, values = page_query(
        EVENTS, place(after=["2026-03-10T11:30:00.000001Z", "u7"], types=TYPES)
    )
    assert "(`created_at`, `uuid`) > (toDateTime64({after_0}, 6, 'UTC'), toUUID({after_1}))" in text
    assert "ORDER BY `created_at`, `uuid` LIMIT 1000" in text
    assert values["after_0"] == "2026-03-10 11:30:00.000001"
    assert values["after_1"] == "u7"


def test_no_value_is_ever_part_of_the_text() -> None:
    """A key can hold anything."""
    spec = QuerySpec("q", "SELECT k FROM t -- all", key=("k",))
    odd = "'; DROP TABLE t; --{after_0}"
    for text, values in (
        page_query(spec, QueryPlace(fingerprint="f", began_at=NOON, after=[odd])),
        keys_query(spec, QueryPlace(fingerprint="f", began_at=NOON), [[odd]]),
    ):
        assert "DROP" not in text
        assert odd in values.values()
        assert set(re.findall(r"\{(\w+)\}", text)) == set(values)


@given(INSTANTS)
def test_an_instant_is_sent_as_utc_with_every_digit(at: datetime) -> None:
    """In whatever form it came."""
    elsewhere = at.astimezone(timezone(timedelta(hours=5, minutes=45)))
    for form in (at, elsewhere, elsewhere.isoformat(), str(at), at.isoformat()[:-6] + "Z"):
        assert datetime.fromisoformat(f"{in_utc(form)}+00:00") == at


def test_more_digits_than_a_microsecond_are_not_cut() -> None:
    """A row between two microseconds would be read again and again, or never."""
    kinds = {"created_at": "DateTime64(9, 'UTC')", "uuid": "UUID"}
    text, values = page_query(
        EVENTS, place(after=["2026-03-10T11:30:00.123456789Z", "u7"], types=kinds)
    )
    assert values["after_0"] == "2026-03-10 11:30:00.123456789"
    assert "toDateTime64({after_0}, 9, 'UTC')" in text


@given(st.integers(1, 20_000), st.integers(2, 10**8), st.integers(FEWEST_ROWS, MOST_ROWS))
def test_pages_grow_to_the_size_of_an_answer_and_not_beyond(
    rows: int, size: int, asked: int
) -> None:
    """By what the rows of the last page weighed."""
    following = place(rows=asked).past(["2026-03-10T11:30:00Z", "u7"], TYPES, rows, size).rows
    assert FEWEST_ROWS <= following <= min(MOST_ROWS, 4 * asked)
    assert following == FEWEST_ROWS or following * size / rows <= ANSWER_BYTES


@given(st.integers(FEWEST_ROWS, MOST_ROWS), st.integers(1, 10**6))
def test_what_is_too_much_is_halved_until_nothing_less_can_be_asked_for(
    rows: int, seconds: int
) -> None:
    """Neither the rows nor the stretch stay as they were."""
    here = place(rows=rows, since=NOON - timedelta(seconds=seconds))
    halved = 0
    while here.shortens:
        less = here.shortened()
        assert (less.rows, less.part) != (here.rows, here.part)
        here, halved = less, halved + 1
    assert halved < 40
    assert here.rows == FEWEST_ROWS


def test_after_the_part_that_was_shortened_the_rest_of_the_stretch_is_read() -> None:
    """In parts as long as the one that the server could manage, and after a while in longer ones.

    At once would be too soon: a query that really is too large would be stopped for every part.
    """
    here: QueryPlace | None = place().shortened().shortened().shortened()
    lengths = []
    while here is not None:
        assert here.since is not None
        assert here.part is not None
        lengths.append((here.part - here.since).total_seconds() / 60)
        here = here.past_part()
    assert lengths == [7.5, 7.5, 7.5, 15, 15, 7.5]
    assert sum(lengths) == 60


def test_the_query_may_use_the_bounds_of_its_stretch() -> None:
    """They are filled in UTC, and only those that it names."""
    spec = QuerySpec(
        "q",
        "SELECT a FROM t WHERE d >= {reach} AND b < {until}",
        key=("a",),
        cursor="b",
        reach=Lookback.parse("3d"),
    )
    _, values = page_query(spec, place(reach=3 * 86_400.0))
    assert values["reach"] == "2026-03-07 11:00:00.000000"
    assert values["until"] == "2026-03-10 12:00:00.000000"
    assert "since" not in values
    assert page_query(spec, place())[1]["reach"] == "1970-01-02 00:00:00.000000"


@pytest.mark.parametrize(
    ("kind", "column", "in_key"),
    [
        ("String", Kind.TEXT, Kind.TEXT),
        ("LowCardinality(Nullable(String))", Kind.TEXT, Kind.TEXT),
        ("UUID", Kind.UUID, Kind.UUID),
        ("Nullable(Int64)", Kind.BIGINT, Kind.BIGINT),
        ("UInt32", Kind.BIGINT, Kind.BIGINT),
        ("UInt64", Kind.BIGINT, Kind.TEXT),
        ("Decimal(18, 4)", Kind.NUMERIC, Kind.TEXT),
        ("Float64", Kind.DOUBLE, Kind.TEXT),
        ("Bool", Kind.BOOLEAN, Kind.TEXT),
        ("Date", Kind.DATE, Kind.TEXT),
        ("DateTime('UTC')", Kind.INSTANT, Kind.TEXT),
        ("Nullable(DateTime64(3, 'Europe/Berlin'))", Kind.INSTANT, Kind.TEXT),
        ("Enum8('a' = 1)", Kind.TEXT, Kind.TEXT),
        ("Array(String)", Kind.JSON, Kind.TEXT),
        ("Tuple(String, UInt8)", Kind.JSON, Kind.TEXT),
        ("Map(String, String)", Kind.JSON, Kind.TEXT),
        ("Nullable(Nothing)", Kind.TEXT, Kind.TEXT),
    ],
)
def test_each_type_of_the_server_has_a_column(kind: str, column: Kind, in_key: Kind) -> None:
    """What has no column of its own is kept as JSON; a key is text where it can be nothing else."""
    assert (kind_of(kind), kind_of(kind, is_key=True)) == (column, in_key)


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ({"uuid": "UUID"}, "no column 'created_at'"),
        ({"created_at": "DateTime"}, "no column 'uuid'"),
        ({"created_at": "Nullable(DateTime)", "uuid": "UUID"}, "may be null"),
        ({"created_at": "DateTime", "uuid": "UUID", "project_id": "Int64"}, "cannot be named"),
        ({"created_at": "DateTime", "uuid": "UUID", "a" * 64: "Int64"}, "cannot be named"),
    ],
)
def test_a_result_that_cannot_be_kept_is_refused(types: dict[str, str], said: str) -> None:
    """Each with what to change."""
    with pytest.raises(ValueError, match=said):
        table_of(EVENTS, types)


def test_only_types_that_hold_null_may_be_null() -> None:
    """An array of values that may be null is itself no null."""
    assert may_be_null("LowCardinality(Nullable(String))")
    assert not may_be_null("Array(Nullable(String))")


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"person_id": Kind.UUID, "distinct_id": Kind.TEXT, "$session_id": Kind.TEXT},
         {"person_id", "distinct_id"}),
        ({"$session_id": Kind.TEXT}, {"$session_id"}),
        ({"person_id": Kind.TEXT}, set()),
    ],
)  # fmt: skip
def test_a_session_says_whose_a_row_is_only_where_nothing_else_does(
    columns: dict[str, Kind], named: set[str]
) -> None:
    """Two persons may share a session; whoever forgets one of them must not forget the other."""
    fields = [Field("k", Kind.TEXT, "k"), *(Field(name, k, "c") for name, k in columns.items())]
    table = query_table("q", "", ["k"], fields)
    assert {each.column for each in table.identities} == named


def test_a_row_is_asked_for_by_its_key_wherever_it_is_by_now() -> None:
    """It may have changed since, and left the stretch that was read."""
    spec = QuerySpec(
        "q", "SELECT k, t FROM x WHERE t >= {since} AND t < {until}", key=("k",), cursor="t"
    )
    _, values = keys_query(spec, place(), [["a"]])
    assert values["since"] < "1971"
    assert values["until"] > "2099"


@pytest.mark.parametrize("name", ["since", "until", "reach"])
def test_a_text_that_uses_what_is_not_configured_is_refused(name: str) -> None:
    """It would be read without any bound."""
    with pytest.raises(ValueError, match=name):
        QuerySpec("q", f"SELECT k FROM x WHERE t >= {{{name}}}", key=("k",))
