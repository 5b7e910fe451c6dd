"""Broken twins of the project's own row."""

from tests.twins.twin import Twin

_TESTS = "tests/acceptance/test_streams_organization.py::"

TWINS = [
    Twin(
        name="a project stores the rows of other projects, too",
        promise="P2",
        file="etl/streams/organization.py",
        find='            project="id",\n',
        replace="",
        caught_by=_TESTS
        + "test_each_project_stores_its_own_row_and_a_key_of_another_one_changes_nothing",
    ),
    Twin(
        name="the tokens of a project are stored as hashes instead of being dropped",
        promise="P11",
        file="etl/streams/organization.py",
        find='    "api_token",\n',
        replace="",
        caught_by=_TESTS + "test_what_happens_at_the_source_is_stored[a project that is renamed]",
    ),
]
