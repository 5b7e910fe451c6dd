"""Broken twins of P9: memory grows with the number of rows."""

from tests.twins.twin import Twin

TWINS = [
    Twin(
        name="pages are fetched ahead without bound",
        promise="P9",
        file="etl/runs/prefetch.py",
        find="        return self._room.held_bytes + page.size_bytes <= self._room.limit_bytes\n",
        replace="        return True\n",
        caught_by="tests/acceptance/test_memory.py::test_pages_are_not_fetched_ahead_without_bound",
    ),
]
