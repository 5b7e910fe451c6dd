"""Broken twins of P8: more is asked than the API allows."""

from tests.twins.twin import Twin

_TESTS = "tests/acceptance/test_budget.py::"

_SLOW = "tests/adversary/test_slow_queries.py::"

_AT_ONCE = "tests/acceptance/test_streams_at_once.py::"

TWINS = [
    Twin(
        name="a stream that waits keeps the others waiting",
        promise="P8",
        file="etl/app.py",
        find="    return max(1, min(settings.streams_at_once, len(streams)))\n",
        replace="    return 1\n",
        caught_by=_AT_ONCE + "test_a_list_that_waits_for_its_budget_keeps_no_other_stream_waiting",
    ),
    Twin(
        name="a stream begins while the one it builds on is read",
        promise="P8",
        file="etl/runs/projects.py",
        find="            if not any(entry.stream.builds_on(sibling) for sibling in siblings):\n",
        replace="            if siblings:\n",
        caught_by=_AT_ONCE + "test_a_stream_begins_when_the_one_it_builds_on_has_ended",
    ),
    Twin(
        name="reports come in the order in which the streams ended",
        promise="P8",
        file="etl/runs/projects.py",
        find="        entry.reports = done\n",
        replace="        entry.reports = done\n"
        "        entries.append(entries.pop(entries.index(entry)))\n",
        caught_by=_AT_ONCE + "test_a_stream_begins_when_the_one_it_builds_on_has_ended",
    ),
    Twin(
        name="streams that run at once count each other's requests",
        promise="P8",
        file="etl/app.py",
        find="            tools.append(await stack.enter_async_context("
        "open_tools(settings, destination, cap)))\n",
        replace="            tools.append(first)\n",
        caught_by=_AT_ONCE + "test_each_run_counts_the_requests_of_its_own_stream",
    ),
    Twin(
        name="only the newest stretch of a window that is too slow is read",
        promise="P8",
        file="etl/extractors/recordings.py",
        find="        if place.ended and (following",
        replace="        if False and (following",
        caught_by=_SLOW + "test_a_window_that_is_too_slow_is_read_in_shorter_stretches[cursor]",
    ),
    Twin(
        name="the stretches that a stopped run left are forgotten",
        promise="P8",
        file="etl/extractors/recordings.py",
        find="        self._longest, self._traits = place.longest, place.traits\n",
        replace="        place = replace(place, longest=None)\n",
        caught_by=_SLOW + "test_stretches_outlast_the_run_that_began_them",
    ),
    Twin(
        name="a question that is too slow is asked again unchanged",
        promise="P8",
        file="etl/extractors/lists.py",
        find="            shrinkable = place.shortens or may_shrink\n",
        replace="            shrinkable = may_shrink\n",
        caught_by=_SLOW + "test_a_server_that_is_too_slow_for_an_hour_is_left_with_clear_words",
    ),
    Twin(
        name="a 429 about a slow query is waited for",
        promise="P8",
        file="etl/extractors/protocol.py",
        find=" or (status == 429 and _TOO_SLOW.search(said))",
        replace="",
        caught_by="tests/adversary/test_bare_answers.py::"
        "test_a_429_about_a_slow_query_is_asked_again_for_less",
    ),
    Twin(
        name="a server that names a day is waited for a day",
        promise="P8",
        file="etl/extractors/protocol.py",
        find="LONGEST_WAIT_S = 3_600.0",
        replace="LONGEST_WAIT_S = 86_400.0",
        caught_by="tests/adversary/test_bare_answers.py::"
        "test_a_wait_of_a_day_counts_as_an_hour_and_is_reported",
    ),
    Twin(
        name="every process has a budget of its own",
        promise="P8",
        file="etl/loaders/budget.py",
        find="            wait = wait_s(now, spent, blocked_until)\n",
        replace="            wait = wait_s(now, [], blocked_until)\n",
        caught_by=_TESTS + "test_two_processes_at_once_share_one_limit",
    ),
    Twin(
        name="two processes may take the last request both",
        promise="P8",
        file="etl/loaders/budget.py",
        find="func.pg_advisory_xact_lock(",
        replace="func.coalesce(",
        caught_by="tests/contract/test_budget.py::test_many_at_once_get_no_more_than_the_limit"
        "[pool]",
    ),
    Twin(
        name="the hour is not counted",
        promise="P8",
        file="etl/loaders/budget.py",
        find="                for limit in self._limits[name]:\n",
        replace="                for limit in self._limits[name][:1]:\n",
        caught_by=_TESTS + "test_the_hour_has_a_limit_of_its_own",
    ),
    Twin(
        name="Retry-After is not read",
        promise="P8",
        file="etl/extractors/protocol.py",
        find='    after = headers.get("Retry-After", "").strip()\n',
        replace='    after, said = "", ""\n',
        caught_by=_TESTS + "test_a_wait_that_is_too_long_pauses_every_process[429_header]",
    ),
    Twin(
        name="the wait in the text of a 429 is not read",
        promise="P8",
        file="etl/extractors/protocol.py",
        find="    found = _AVAILABLE_IN.search(said)\n",
        replace="    found = None\n",
        caught_by=_TESTS + "test_a_wait_that_is_too_long_pauses_every_process[429_text]",
    ),
    Twin(
        name="what a 429 said is forgotten when the run pauses",
        promise="P8",
        file="etl/extractors/client.py",
        find="            await self._budget.block(request.budget_classes, wait_s)\n",
        replace="            pass\n",
        caught_by=_TESTS + "test_a_wait_that_is_too_long_pauses_every_process[429_header]",
    ),
    Twin(
        name="requests that are repeated are not counted",
        promise="P8",
        file="etl/extractors/client.py",
        find="            await self._budget.acquire(request.budget_classes)\n",
        replace="            if not failures:\n"
        "                await self._budget.acquire(request.budget_classes)\n",
        caught_by=_TESTS + "test_every_request_is_counted_also_one_that_failed",
    ),
]
