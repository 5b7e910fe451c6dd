"""Which records need no writing, by the hashes of all rows that become of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from etl.core.hashes import rows_of, without_unchanged
from etl.core.page import HashedRecord, Page, Record

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEYS, HASHES = st.sampled_from("abc"), st.integers(1, 2)


class Reader:
    """Not asked here."""

    drift = ()

    def read(self, raw: Raw) -> Record:
        """Read nothing."""
        raise AssertionError

    def typed(self, record: HashedRecord) -> Record:
        """Type nothing."""
        raise AssertionError


@st.composite
def pages(draw: st.DrawFn) -> list[Page]:
    """Pages of recordings, of which some share their person."""
    persons = [
        [("persons", draw(KEYS), draw(HASHES)) for _ in range(draw(st.integers(0, 2)))]
        for _ in range(3)
    ]
    return [
        Page(
            [
                HashedRecord(
                    Raw(b""),
                    draw(KEYS),
                    None,
                    draw(HASHES),
                    draw(st.sampled_from(persons)),
                    Reader(),
                )
                for _ in range(draw(st.integers(0, 4)))
            ],
            dirty=False,
            observed_at=NOON + timedelta(minutes=minute),
            size_bytes=1,
        )
        for minute in range(draw(st.integers(1, 3)))
    ]


def shown(pages: Sequence[Page]) -> list[tuple[str, Any, int, datetime, HashedRecord]]:
    """Each row that a record becomes, one by one."""
    return [
        (table, key, row_hash, page.observed_at, record)
        for page in pages
        for record in page.records
        for table, key, row_hash in [("recordings", record.key, record.row_hash), *record.others]
    ]


@given(
    pages(), st.dictionaries(st.tuples(st.sampled_from(["recordings", "persons"]), KEYS), HASHES)
)
def test_a_record_is_left_out_if_all_its_rows_are_stored_as_every_page_shows_them(
    given_pages: list[Page], kept: Mapping[tuple[str, Any], int]
) -> None:
    """For any pages and any stored rows. What is left out is told with its last request."""
    rows, all_rows = rows_of(given_pages, "recordings"), shown(given_pages)
    stored = {
        table: {key for key, seen in found.items() if seen.row_hash == kept.get((table, key), -1)}
        for table, found in rows.items()
    }
    left, unchanged = without_unchanged(given_pages, "recordings", rows, stored)

    def is_stored(table: str, key: Any) -> bool:
        return {each[2] for each in all_rows if each[:2] == (table, key)} == {
            kept.get((table, key))
        }

    expected = [
        [
            record
            for record in page.records
            if not all(is_stored(*each[:2]) for each in all_rows if each[4] is record)
        ]
        for page in given_pages
    ]
    assert [page.records for page in left] == expected
    assert unchanged.records == sum(len(page.records) for page in given_pages) - sum(
        map(len, expected)
    )
    skipped = [each for each in all_rows if not any(each[4] in records for records in expected)]
    told = {
        (table, key): seen for table, found in unchanged.rows.items() for key, seen in found.items()
    }
    assert {*told} >= {(table, key) for table, key, *_ in skipped}
    for place, seen in told.items():
        assert seen.row_hash == kept[place]
        assert seen.observed_at == max(each[3] for each in all_rows if each[:2] == place)


def test_a_page_with_a_record_that_was_decoded_is_not_compared() -> None:
    """Nobody knows which rows become of it; it may be a recording that another page shows."""
    record = HashedRecord(Raw(b""), "a", None, 1, [], Reader())
    assert rows_of([Page([record, {"id": "a"}], False, NOON, 1)], "recordings") == {}
