"""Broken twins of what reads the things that product teams make."""

from tests.twins.twin import Twin

_PRODUCT = "tests/acceptance/test_streams_product.py::"

TWINS = [
    Twin(
        name="a list without next is asked for more when its count is reached",
        promise="P2",
        file="etl/extractors/lists.py",
        find="more = (self.ask.offset or 0) + len(self.listed.records) < count",
        replace="more = len(self.listed.records) < count",
        caught_by=_PRODUCT + "test_a_list_that_has_a_count_and_no_next_is_read_to_its_count[cloud]",
    ),
]
