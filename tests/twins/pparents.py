"""Broken twins of lists of parents: left out while these are unchanged, refused, or not shown."""

from tests.twins.twin import Twin

_LISTS = "etl/loaders/parent_lists.py"
_TESTS = "tests/acceptance/test_streams_people.py::"
_SNAPSHOT = "etl/extractors/snapshot.py"
_TROUBLE = "tests/acceptance/test_streams_trouble.py::"
_PROJECT = "tests/acceptance/test_streams_organization.py::"
_HIDDEN = _PROJECT + (
    "test_a_project_that_the_list_does_not_show_is_a_stream_that_is_not_available[others only]"
)
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
    Twin(
        name="a refused parent counts again in the run that goes on",
        promise="P12",
        file=_SNAPSHOT,
        find="                yield self._empty(place, self._unjudged(place))\n"
        "                place = replace(\n"
        "                    place, refused=place.refused + 1, "
        "skipped=place.skipped + int(is_foreign)\n"
        "                )\n",
        replace="                place = replace(\n"
        "                    place, refused=place.refused + 1, "
        "skipped=place.skipped + int(is_foreign)\n"
        "                )\n"
        "                yield self._empty(place, self._unjudged(place))\n",
        caught_by="tests/unit/extractors/test_refused_parents.py::"
        "test_each_refused_parent_counts_once_wherever_it_is_read_on[the first two]",
    ),
    Twin(
        name="a reading that got nothing is gone on with",
        promise="P12",
        file="etl/runs/snapshot.py",
        find="if place is None or place.is_beginning:",
        replace="if place is None:",
        caught_by=_TROUBLE + "test_a_list_that_fails_is_asked_for_once_at_each_sync",
    ),
    Twin(
        name="a reading of which a later list was refused is gone on with",
        promise="P12",
        file="etl/runs/snapshot.py",
        find="                if not reader.has_read:\n",
        replace="                if reader.has_read:\n",
        caught_by=_TROUBLE
        + "test_a_list_that_is_refused_is_asked_for_once_at_each_sync"
        + "[lists of a later kind-never read]",
    ),
    Twin(
        name="a list is asked for whose parent does not say which one",
        promise="P12",
        file="etl/loaders/parents.py",
        find="*alive(table), *named)",
        replace="*alive(table))",
        caught_by=_PROJECT + "test_a_project_that_names_no_organization_asks_for_no_members",
    ),
    Twin(
        name="a list that does not show the project counts as read",
        promise="P12",
        file=_SNAPSHOT,
        find="if self._resource.project is not None and place.complete and place.records == 0:",
        replace="if self._resource.project is not None and place.pages == 0:",
        caught_by=_HIDDEN,
    ),
    Twin(
        name="check does not look whether the list shows the project",
        promise="P12",
        file="etl/runs/check.py",
        find="    if not shown and not listed.more:\n",
        replace="    if not shown and listed.more:\n",
        caught_by=_HIDDEN,
    ),
]
