"""Broken twins of lists that are left out while their parent is unchanged."""

from tests.twins.twin import Twin

_LISTS = "etl/loaders/parent_lists.py"
_TESTS = "tests/acceptance/test_streams_people.py::"
_ONLY = _TESTS + "test_only_cohorts_that_were_calculated_again_are_read_and_static_ones"

TWINS = [
    Twin(
        name="a list is left out though what it did not show was not judged",
        promise="P5",
        file=_LISTS,
        find=".where(lists.c.state.is_not(None), ~in_doubt)",
        replace=".where(lists.c.state.is_not(None))",
        caught_by=_TESTS + "test_what_the_guard_withholds_is_looked_at_again_until_it_is_accepted",
    ),
    Twin(
        name="a list is left out though not all of it was read",
        promise="P2",
        file=_LISTS,
        find="            .where(*self._of(unit), lists.c.whole, ~lists.c.settled)\n",
        replace="            .where(*self._of(unit), ~lists.c.settled)\n",
        caught_by=_TESTS + "test_a_cohort_that_is_refused_is_asked_for_again",
    ),
    Twin(
        name="a list stays settled while it is read again",
        promise="P2",
        file=_LISTS,
        find='for name in ("state", "whole", "settled")}',
        replace='for name in ("state", "whole")}',
        caught_by=_ONLY,
    ),
    Twin(
        name="a list is left out whatever its parent says",
        promise="P2",
        file=_LISTS,
        find="where=same.is_not(True)",
        replace="where=lists.c.settled.is_not(True)",
        caught_by=_ONLY,
    ),
    Twin(
        name="what is stored of a list that is left out is in doubt",
        promise="P5",
        file="etl/loaders/absence.py",
        find="doubt = statements.doubt_read if seen.spares else None",
        replace="doubt = None",
        caught_by=_ONLY,
    ),
    Twin(
        name="a list counts as unchanged where its parent does not say",
        promise="P2",
        file="etl/loaders/parents.py",
        find="return case((func.num_nulls(*columns) == 0, ",
        replace="return case((func.num_nulls(*columns) >= 0, ",
        caught_by=_TESTS + "test_who_leaves_and_joins_a_static_cohort_is_seen_at_once",
    ),
]
