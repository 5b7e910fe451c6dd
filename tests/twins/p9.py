"""Broken twins of P9: memory grows with the number of rows."""

from tests.twins.twin import Twin

_WAITING = (
    "tests/unit/extractors/test_waiting_pages.py::"
    "test_a_page_that_waits_takes_little_more_than_its_bytes"
)

TWINS = [
    Twin(
        name="pages are fetched ahead without bound",
        promise="P9",
        file="etl/runs/prefetch.py",
        find="        return self._room.held_bytes + page.size_bytes <= self._room.limit_bytes\n",
        replace="        return True\n",
        caught_by="tests/acceptance/test_memory.py::test_pages_are_not_fetched_ahead_without_bound",
    ),
    Twin(
        name="records of a list wait decoded",
        promise="P9",
        file="etl/extractors/snapshot.py",
        find="record if dirty else encode_record(record)",
        replace="record",
        caught_by=_WAITING,
    ),
    Twin(
        name="all records of a page are decoded at once",
        promise="P9",
        file="etl/extractors/snapshot.py",
        find="decoded=resource.records is not results_of",
        replace="decoded=True",
        caught_by=_WAITING,
    ),
]
