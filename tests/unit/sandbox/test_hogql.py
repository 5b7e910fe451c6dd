"""The HogQL of the sandbox: values, types, and what is refused as a real server refuses it."""

import contextlib
import hashlib
from datetime import UTC, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.sandbox.clock import to_datetime, to_text
from etl.sandbox.errors import ApiError
from tests.unit.sandbox.hogql import Asking

ASKING = Asking()
_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("sql", "value", "kind"),
    [
        ("1", 1, "UInt8"),
        ("-300", -300, "Int16"),
        ("'it''s \\'so\\''", "it's 'so'", "String"),
        ("null", None, "Nullable(Nothing)"),
        ("true", True, "Bool"),
        ("7 / 2", 3.5, "Float64"),
        ("7 % 4 + 1", 4, "UInt64"),
        ("'a' || 1", "a1", "String"),
        ("(1, 'b') > (1, 'a')", 1, "UInt8"),
        ("(1, 'a') > (1, 'a')", 0, "UInt8"),
        ("2 in (1, 2)", 1, "UInt8"),
        ("(1, 'a') not in ((1, 'b'), (2, 'a'))", 1, "UInt8"),
        ("3 between 1 and 2", 0, "UInt8"),
        ("'Ab' like 'a_' or 'Ab' ilike 'a%'", 1, "UInt8"),
        ("null = null", 1, "UInt8"),
        ("null > 1", 0, "UInt8"),
        ("1 is not null", 1, "UInt8"),
        ("if(1 = 2, 'x', null)", None, "Nullable(String)"),
        ("coalesce(null, 'x')", "x", "String"),
        ("concat('a', null, 1)", "a1", "String"),
        ("lower('ÄB')", "Äb", "String"),
        ("hex(unhex('00ff'))", "00FF", "String"),
        ("hex(reverse(unhex('0102')))", "0201", "String"),
        ("hex(255)", "FF", "String"),
        ("substring('hello', 2, 3)", "ell", "String"),
        ("reinterpretAsUInt64(unhex('FFFFFFFFFFFFFFFF'))", 2**64 - 1, "UInt64"),
        ("reinterpretAsUInt32(unhex('01000000'))", 1, "UInt32"),
        ("toInt64('12')", 12, "Nullable(Int64)"),
        ("toInt64('x')", None, "Nullable(Int64)"),
        ("_toUInt64(5)", 5, "UInt64"),
        ("toString(true)", "true", "String"),
        ("toDate('2026-05-04')", "2026-05-04", "Nullable(Date)"),
        ("tuple(1, 'a')", [1, "a"], "Tuple(UInt8, String)"),
        ("now()", "2026-05-04T12:00:00Z", "DateTime64(6, 'UTC')"),
        ("toString(now())", "2026-05-04 12:00:00.000000", "String"),
        ("now() - toIntervalHour(1)", "2026-05-04T11:00:00Z", "DateTime64(6, 'UTC')"),
        ("toStartOfDay(now())", "2026-05-04T00:00:00Z", "DateTime('UTC')"),
        ("toDateTime('2026-05-04T14:00:00.123456+02:00')", "2026-05-04T12:00:00.123000Z",
         "Nullable(DateTime64(3, 'UTC'))"),
        ("toDateTime('never')", None, "Nullable(DateTime64(3, 'UTC'))"),
        ("toDateTime64('2026-05-04 12:00:00.123456', 6, 'UTC')", "2026-05-04T12:00:00.123456Z",
         "DateTime64(6, 'UTC')"),
        ("toDateTime64('2026-05-04 12:00:00', 6, 'Europe/Berlin')", "2026-05-04T10:00:00Z",
         "DateTime64(6, 'Europe/Berlin')"),
        ("sum(x) from (select 1 as x union all select 2 as x)", 3, "UInt64"),
        ("groupArray(x) from (select 'a' as x union all select 'b' as x)", ["a", "b"],
         "Array(String)"),
        ("groupBitXor(x) from (select 5 as x union all select 3 as x)", 6, "UInt8"),
        ("countIf(x > 1) from (select 1 as x union all select 2 as x)", 1, "UInt64"),
    ],
)  # fmt: skip
def test_an_expression_has_the_value_and_the_type_of_clickhouse(
    sql: str, value: object, kind: str
) -> None:
    """One SELECT each."""
    found = ASKING.run(f"SELECT {sql}")
    assert (found.rows, found.query.types) == ([[value]], [kind])


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select foo(1)", "Unsupported function call 'foo(...)'"),
        ("select toUInt64(1)", "Unsupported function call 'toUInt64(...)'. Perhaps you meant "
                               "'_toUInt64(...)'?"),
        ("select nothing from events", "Unable to resolve field: nothing"),
        ("select e.nothing from events e", "Unable to resolve field: e.nothing"),
        ("select 1 from nowhere", "Unknown table `nowhere`."),
        ("select 1 from events limit 1 offset 1", "OFFSET is not supported on queries made with a "
                                                  "personal API key."),
        ("select * from session_replay_events", "Can't select *"),
        ("select {missing}", "Unresolved placeholder: {missing}"),
        ("select event, uuid from events group by event", "Column `uuid` is not under aggregate"),
        ("select count(count()) from events", "cannot be nested"),
        ("select 1 +", "Syntax error"),
        ("select 'open", "Syntax error"),
        ("drop table events", "Syntax error"),
        ("select 1 from events e join persons p on 1 = 1", "does not answer JOIN"),
        ("select toString()", "expects 1 to 2 arguments, found 0"),
        ("select 1 from events where event > 1", "There is no supertype for types String, UInt8"),
        ("select 1 from events where uuid = 'x'", "Cannot parse UUID from String: 'x'"),
        ("select 1 from events where timestamp > '2026-05-04T00:00:00Z'",
         "syntax error at position 19 (parsed just '2026-05-04T00:00:00')"),
        ("select toDateTime64('2026-05-04T00:00:00.123456Z', 6, 'UTC')", "Cannot parse string"),
        ("select 1 union all select 1, 2", "Different number of columns"),
        ("select 1 limit -1", "LIMIT must not be negative"),
    ],
)  # fmt: skip
def test_what_a_real_server_refuses_is_refused_with_its_words(sql: str, reason: str) -> None:
    """Text within a query is no reason: the word OFFSET may be in a literal."""
    assert reason in ASKING.refusal(sql)
    assert ASKING.value("select 'offset'") == "offset"


@given(st.text(alphabet="selctfromwhg (),.*'`{}=<>+-/%1aevnts\n", max_size=40))
@settings(max_examples=200)
def test_any_text_is_answered_or_refused(text: str) -> None:
    """No other error comes out of it."""
    for sql in (text, f"select {text}", f"select count() from events where {text}"):
        with contextlib.suppress(ApiError):
            ASKING.run(sql)


@given(_TEXT)
def test_a_text_comes_back_unchanged_from_a_placeholder(text: str) -> None:
    """Also with quotes, NUL and braces; functions see its bytes."""
    row = ASKING.rows("select {x}, hex({x}), hex(MD5({x})), {x} = {x}, {x} in ({x})", x=text)
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()
    assert row == [[text, text.encode().hex().upper(), digest, 1, 1]]


@given(st.integers(-(2**63), 2**64 - 1))
def test_a_number_of_64_bits_stays_exact(number: int) -> None:
    """Signed or not; as text too."""
    row = ASKING.rows("select {x}, toString({x}), {x} = {x}, {x} > 9223372036854775807", x=number)
    assert row == [[number, str(number), 1, int(number > 2**63 - 1)]]


@given(st.integers(0, 4 * 10**15), st.integers(0, 3))
def test_instants_are_compared_as_instants_whatever_their_digits(at_us: int, zeros: int) -> None:
    """`.5` is `.500000`, and a blank is a T."""
    at = to_datetime(at_us).replace(tzinfo=None)
    exact = at.isoformat(sep=" ", timespec="microseconds")
    shorter = exact.rstrip("0").rstrip(".") + ("0" * zeros if at.microsecond else "")
    later = (at + timedelta(microseconds=1)).isoformat(timespec="microseconds")
    read = "toDateTime64({%s}, 6, 'UTC')"
    row = ASKING.rows(
        f"select {read % 'a'} = {read % 'b'}, {read % 'a'} < {read % 'c'}, {read % 'a'}",
        a=exact, b=shorter[:26], c=later,
    )  # fmt: skip
    shown = at.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    assert row == [[1, 1, shown]]


def test_instants_are_shown_in_the_zone_of_the_project_unless_it_is_switched_off() -> None:
    """A literal without a zone is read in it too, and days begin there."""
    asking = Asking(timezone="America/New_York")
    sql = "select now(), toDate(now()), toDateTime64('2026-05-04 08:00:00', 6) = now()"
    found = asking.run(sql)
    assert found.rows == [["2026-05-04T08:00:00-04:00", "2026-05-04", 1]]
    assert found.query.types[0] == "DateTime64(6, 'America/New_York')"
    assert asking.run("select now()", converts=False).rows == [["2026-05-04T12:00:00Z"]]
    (timestamp,) = asking.types("select timestamp from events")
    assert timestamp == "DateTime64(6, 'America/New_York')"


def test_uuids_are_ordered_by_their_second_half() -> None:
    """In ORDER BY, in comparisons, and by min and max; as text they are not."""
    rows = [row[0] for row in ASKING.rows("select uuid from events order by uuid limit 1000")]
    assert rows == sorted(rows, key=lambda uuid: (uuid[19:], uuid[:19]))
    assert rows != sorted(rows)
    middle = rows[len(rows) // 2]
    below = ASKING.value("select count() from events where uuid < {x}", x=middle)
    assert below == len(rows) // 2
    assert ASKING.rows("select min(uuid), max(uuid) from events") == [[rows[0], rows[-1]]]
    texts = ASKING.rows("select toString(uuid) as u from events order by u limit 1000")
    assert [row[0] for row in texts] == sorted(rows)


def test_an_aggregate_of_no_rows_has_the_default_of_its_type() -> None:
    """ClickHouse has no null there, but for types that have it."""
    sql = "select count(), max(timestamp), min(event), sum(team_id), max(`$session_id`), any(uuid)"
    assert ASKING.rows(f"{sql} from events where 1 = 2") == [
        [0, "1970-01-01T00:00:00Z", "", 0, None, "00000000-0000-0000-0000-000000000000"]
    ]


def test_a_checksum_over_all_rows_can_be_asked_for() -> None:
    """The exclusive or of the first eight bytes of hashes."""
    sql = (
        "select groupBitXor(reinterpretAsUInt64(substring(MD5(concat(toString(uuid), ':', event)), "
        "1, 8))) from events"
    )
    expected = 0
    for row in ASKING.truth("events"):
        text = f"{row['uuid']}:{row['event']}".encode()
        digest = hashlib.md5(text, usedforsecurity=False).digest()
        expected ^= int.from_bytes(digest[:8], "little")
    assert ASKING.value(sql) == expected


def test_without_a_limit_one_row_more_than_a_hundred_is_read() -> None:
    """An own LIMIT is obeyed up to the cap, and lowered without a word beyond it."""
    asking = Asking(query_cap_rows=120)
    assert len(asking.rows("select uuid from events")) == 101
    assert len(asking.rows("select uuid from events limit 110")) == 110
    assert len(asking.rows("select uuid from events limit 121")) == 120
    assert len(asking.rows("select uuid from events limit 100 + {more}", more=50)) == 120
    inner = "select count() from (select uuid from events limit 130)"
    assert asking.value(inner) == 130
    union = "select uuid from events union all select uuid from events limit 3"
    assert len(asking.rows(union)) == 103


def test_only_a_bound_on_the_time_key_lets_a_query_read_less() -> None:
    """A bound on created_at reads all events."""
    everything = ASKING.run("select count() from events where created_at > '2026-05-04'")
    assert everything.rows_read == ASKING.value("select count() from events")
    bounded = ASKING.run("select 1 from events where timestamp > '2026-05-04' and event != 'x'")
    assert 0 < bounded.rows_read < everything.rows_read
    assert bounded.bytes_read < everything.bytes_read


def test_a_version_2_of_the_sessions_table_knows_no_arrival() -> None:
    """The column is unknown there."""
    assert ASKING.types("select max_inserted_at from sessions limit 0")
    refusal = Asking(sessions_version=2).refusal("select max_inserted_at from sessions")
    assert refusal == "Unable to resolve field: max_inserted_at"


def test_a_property_is_text_or_null_whatever_it_was() -> None:
    """Also beside text that Postgres does not take."""
    odd = '{"a":1,"b":"x","c":null,"d":{"e":[]},"f":"half \\ud83d"}'
    asking = Asking(recordings=0)
    asking.change(op="add_events", properties=odd, distinct_id="x")
    names = "properties.a, properties.b, properties.c, properties.d, properties.missing"
    assert asking.rows(f"select {names} from events") == [["1", "x", None, '{"e":[]}', None]]
    assert asking.value("select properties from events") == odd


def test_what_is_visible_follows_the_clock() -> None:
    """Tables are filled anew when something has arrived, and only then."""
    asking = Asking()
    before = asking.value("select count() from events")
    moment = asking.world.clock.now_us()
    asking.change(op="add_events", count=3, created_at=to_text(moment), visible_after_s=30)
    assert asking.value("select count() from events") == before
    asking.world.clock.advance(31)
    assert asking.value("select count() from events where event = 'added'") == 3
    assert asking.value("select count() from events") == len(asking.truth("events"))
