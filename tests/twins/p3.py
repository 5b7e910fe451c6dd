"""Broken twins of P3: a run that says more than is true."""

from tests.twins.twin import Twin

_TESTS = "tests/acceptance/test_honest.py::"

TWINS = [
    Twin(
        name="the watermark moves although no two passes agreed",
        promise="P3",
        file="etl/runs/windows.py",
        find="complete=[Span(since, until)] if known and since < until else [],\n",
        replace="complete=[Span(since, until)] if since < until else [],\n",
        caught_by="tests/acceptance/test_complete.py::"
        "test_a_list_that_never_comes_to_rest_is_partial_and_says_so"
        "[cloud that knows only offset]",
    ),
    Twin(
        name="an error while fetching looks like the end of the list",
        promise="P3",
        file="etl/runs/prefetch.py",
        find="        await buffer.close(exc)\n",
        replace="        await buffer.close()\n",
        caught_by=_TESTS
        + "test_a_list_that_was_not_read_to_its_end_is_no_success[a status of 503]",
    ),
    Twin(
        name="a failed run exits as if it had succeeded",
        promise="P3",
        file="etl/errors.py",
        find="(code for code in EXIT_PRECEDENCE if code in codes)",
        replace="iter(())",
        caught_by=_TESTS + "test_when_streams_end_differently_the_gravest_sets_the_exit_code"
        "[in either order]",
    ),
    Twin(
        name="the milder ending sets the exit code",
        promise="P3",
        file="etl/errors.py",
        find="(EXIT_KEY_REFUSED, EXIT_FAILED, EXIT_PAUSED, EXIT_HELD, EXIT_PARTIAL)",
        replace="(EXIT_PARTIAL, EXIT_HELD, EXIT_PAUSED, EXIT_FAILED, EXIT_KEY_REFUSED)",
        caught_by=_TESTS + "test_when_streams_end_differently_the_gravest_sets_the_exit_code"
        "[failed before partial]",
    ),
    Twin(
        name="a refused request is asked without dates, and three days pass for all",
        promise="P3",
        file="etl/extractors/recordings.py",
        find="raise  # such a server filters by date",
        replace="return answered  # such a server filters by date",
        caught_by="tests/acceptance/test_complete.py::"
        "test_a_refused_request_never_leads_to_one_without_dates_on_a_real_server",
    ),
    Twin(
        name="a closed terminal stops a command that nohup started",
        promise="P3",
        file="etl/cli/shared.py",
        find="signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN",
        replace="True",
        caught_by="tests/unit/test_signals.py::"
        "test_under_nohup_a_closed_terminal_changes_nothing[ignored]",
    ),
]
