"""Broken twins of P5: what is older, or cut, replaces what is newer and whole."""

from tests.twins.twin import Twin

_CUT = (
    "tests/acceptance/test_complete.py::"
    "test_a_session_cut_by_the_edge_of_the_window_never_replaces_the_whole_one"
)

TWINS = [
    Twin(
        name="an older reading replaces a newer one",
        promise="P5",
        file="etl/loaders/statements.py",
        find='            f"t._observed_at <= {observed_at} AND (t._deleted_at IS NOT NULL "\n',
        replace='            f"{observed_at} IS NOT NULL AND (t._deleted_at IS NOT NULL "\n',
        caught_by="tests/contract/test_loader.py::"
        "test_of_two_readings_the_one_observed_later_stays[pool]",
    ),
    Twin(
        name="a session cut by the edge of the window is loaded",
        promise="P5",
        file="etl/core/window.py",
        find="return started_at >= self.since and (",
        replace="return True or (",
        caught_by=_CUT + "[it reaches into the margin]",
    ),
    Twin(
        name="no margin is read before the window",
        promise="P5",
        file="etl/core/window.py",
        find="        return self.since - MARGIN, upper\n",
        replace="        return self.since, upper\n",
        caught_by=_CUT + "[it reaches into the window]",
    ),
    Twin(
        name="one wrong date ends the trust in the filter",
        promise="P5",
        file="etl/extractors/extractor.py",
        find="        reading.filters = 2 * outside <= len(starts)\n",
        replace="        reading.filters = outside == 0\n",
        caught_by="tests/acceptance/test_complete.py::"
        "test_one_record_with_a_wrong_date_does_not_end_the_trust_in_the_filter",
    ),
    Twin(
        name="nothing is read again",
        promise="P5",
        file="etl/core/window.py",
        find="    return Window(since=max(start, complete_until - lookback))\n",
        replace="    return Window(since=max(start, complete_until))\n",
        caught_by="tests/acceptance/test_current.py::"
        "test_a_recording_that_changes_after_it_was_seen_is_read_again[a view-cloud]",
    ),
]
