"""Broken twins of P6: a deletion is invented, or not seen."""

from tests.twins.twin import Twin

_EXTRACTOR = "etl/extractors/extractor.py"
_SYNC = "etl/runs/windows.py"
_TESTS = "tests/acceptance/test_deletions.py::"

TWINS = [
    Twin(
        name="what a list does not show, were it empty, is taken for deleted",
        promise="P6",
        file=_SYNC,
        find="            page, gone = await extractor.confirm(ids)\n",
        replace="            page, _ = await extractor.confirm(ids)\n"
        "            page, gone = replace(page, records=[], sighting=None), list(ids)\n",
        caught_by=_TESTS + "test_what_a_list_leaves_out_by_mistake_is_not_taken_for_deleted",
    ),
    Twin(
        name="an answer by ids is believed without its witness",
        promise="P6",
        file=_EXTRACTOR,
        find="            if reading.witness in shown and ",
        replace="            if ",
        caught_by=_TESTS
        + "test_an_answer_by_ids_without_its_witness_proves_nothing[an empty answer]",
    ),
    Twin(
        name="a project that is not found is taken for a recording that is gone",
        promise="P6",
        file="etl/extractors/protocol.py",
        find="        and _OF_THE_PROJECT.search(error.message) is None\n    )\n\n\n"
        "def is_record_closed",
        replace="    )\n\n\ndef is_record_closed",
        caught_by=_TESTS + "test_a_question_that_is_not_answered_marks_nothing",
    ),
    Twin(
        name="what expired is taken for deleted",
        promise="P6",
        file="etl/loaders/absence.py",
        find="        for statement in self._statements.expire:\n",
        replace="        for statement in ():\n",
        caught_by=_TESTS + "test_a_recording_past_its_time_is_expired_and_left_alone[cloud]",
    ),
    Twin(
        name="the guard never trips",
        promise="P6",
        file="etl/core/guard.py",
        find="        return vanished > self.rows and ",
        replace="        return False and ",
        caught_by=_TESTS + "test_more_than_a_fifth_at_once_is_withheld_until_it_is_accepted[cloud]",
    ),
    Twin(
        name="the guard has no floor",
        promise="P6",
        file="etl/core/guard.py",
        find="        return vanished > self.rows and ",
        replace="        return ",
        caught_by=_TESTS + "test_in_a_small_project_a_few_deletions_are_no_mistake",
    ),
    Twin(
        name="what a backfill withholds is forgotten",
        promise="P6",
        file=_SYNC,
        find="            await self._loader.withhold(self.lease)\n",
        replace="",
        caught_by=_TESTS + "test_what_a_backfill_withholds_is_judged_by_the_next_sync",
    ),
    Twin(
        name="what is seen again stays deleted",
        promise="P6",
        file="etl/loaders/statements.py",
        find='    alive = ", _deleted_at = NULL"\n',
        replace='    alive = ""\n',
        caught_by=_TESTS + "test_a_recording_that_comes_back_is_alive_again[cloud]",
    ),
    Twin(
        name="what goes on with the start at which a page ends is taken for absent",
        promise="P6",
        file="etl/extractors/reading.py",
        find=" else self.low + _TICK\n",
        replace=" else self.low\n",
        caught_by="tests/acceptance/test_edges.py::"
        "test_five_hundred_recordings_with_one_start_are_all_loaded_and_missed[cloud]",
    ),
    Twin(
        name="a filter that proves to be none leaves the pages before in doubt of nothing",
        promise="P6",
        file=_EXTRACTOR,
        find="        if filtered and not reading.filters and not begins:\n",
        replace="        if False:\n",
        caught_by=_TESTS + "test_a_list_without_a_date_filter_shows_old_deletions_though_most_rows_"
        "are_young[pages]",
    ),
]
