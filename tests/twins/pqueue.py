"""Broken twins of the queue: a job is lost, done twice, or holds the others up."""

from tests.twins.twin import Twin

_TAKING = "etl/loaders/taking.py"
_EXECUTE = "etl/service/execute.py"
_QUEUE = "etl/service/queue.py"
_TESTS = "tests/acceptance/test_queue.py::"

TWINS = [
    Twin(
        name="a job that could not be put back leaves the queue",
        promise="P1",
        file=_TAKING,
        find='        done = [each for each in job_status if each[1] == "successful"]\n',
        replace="        done = list(job_status)\n",
        caught_by=_TESTS + "test_a_job_that_cannot_be_put_back_is_handed_on_all_the_same",
    ),
    Twin(
        name="a job that could not be put back counts against its worker for ever",
        promise="P1",
        file=_TAKING,
        find="        if len(done) < len(job_status):\n",
        replace="        if False:\n",
        caught_by=_TESTS + "test_a_job_that_cannot_be_put_back_is_handed_on_all_the_same",
    ),
    Twin(
        name="a unit that failed leaves the queue",
        promise="P3",
        file=_EXECUTE,
        find="        if failed is not None:\n",
        replace="        if False:\n",
        caught_by=_TESTS
        + "test_a_unit_that_failed_is_tried_again_and_a_backfill_for_as_long_as_it_takes",
    ),
    Twin(
        name="a request to stop takes the unit off the queue",
        promise="P1",
        file=_EXECUTE,
        find='                return Again(0.0, "the worker stops")\n',
        replace="                return None\n",
        caught_by=_TESTS + "test_a_worker_that_is_asked_to_stop_gives_its_unit_back",
    ),
    Twin(
        name="a request to stop between two windows takes the others off the queue",
        promise="P3",
        file="etl/runs/backfill.py",
        find="                return [*reports, Report(",
        replace="                return reports or [Report(",
        caught_by=_TESTS + "test_a_worker_that_is_stopped_between_two_windows_puts_back_the_others",
    ),
    Twin(
        name="streams that a stopped sync did not begin are not told of",
        promise="P3",
        file="etl/runs/projects.py",
        find="                    entry.end(ending_of(not_begun()))\n",
        replace="                    pass\n",
        caught_by="tests/acceptance/test_honest.py::"
        "test_a_sync_that_is_stopped_between_two_streams_says_which_it_did_not_begin",
    ),
    Twin(
        name="a stream that is not to be had takes its backfill off the queue",
        promise="P12",
        file=_EXECUTE,
        find="endings.get(PARTIAL) if job.command == BACKFILL else None",
        replace="None",
        caught_by=_TESTS
        + "test_what_keeps_the_whole_stream_from_being_read_takes_no_job_off_the_queue[403]",
    ),
    Twin(
        name="what was done and cannot be taken off holds its worker",
        promise="P12",
        file=_TAKING,
        find='            _log.warning("job.kept", reason=type(exc).__name__)\n',
        replace="            raise\n",
        caught_by=_TESTS + "test_a_job_that_cannot_be_taken_off_keeps_no_other_waiting",
    ),
    Twin(
        name="windows are queued that are queued already",
        promise="P8",
        file=_QUEUE,
        find="            if not any(s.since < window.until",
        replace="            if True or not any(s.since < window.until",
        caught_by=_TESTS + "test_a_window_is_never_on_the_queue_twice",
    ),
    Twin(
        name="a spent budget is known to one unit alone",
        promise="P8",
        file=_EXECUTE,
        find="            await queue.defer(job.stream, [SYNC, BACKFILL], wait_s)\n",
        replace="",
        caught_by=_TESTS
        + "test_a_unit_whose_budget_is_spent_waits_on_the_queue_and_so_do_the_others",
    ),
    Twin(
        name="a slow project keeps its worker",
        promise="P12",
        file=_EXECUTE,
        find="            if await queue.others_wait(",
        replace="            if False and await queue.others_wait(",
        caught_by=_TESTS + "test_a_slow_project_gives_way_to_another",
    ),
]
