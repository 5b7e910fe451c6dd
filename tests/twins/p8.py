"""Broken twins of P8: more is asked than the API allows."""

from tests.twins.twin import Twin

_TESTS = "tests/acceptance/test_budget.py::"

_SLOW = "tests/adversary/test_slow_queries.py::"

_WAITING = "tests/acceptance/test_waiting.py::"

_AT_ONCE = "tests/acceptance/test_streams_at_once.py::"

TWINS = [
    Twin(
        name="a run that died while it waited waits for ever",
        promise="P8",
        file="etl/loaders/seen_runs.py",
        find="        still_holds(tables),\n",
        replace="",
        caught_by=_WAITING + "test_a_run_that_died_while_it_waited_waits_no_longer",
    ),
    Twin(
        name="the end of a wait is not noted",
        promise="P8",
        file="etl/runs/sync.py",
        find="        if changed:\n            given.progress.waits(waits.current)\n",
        replace="        if changed and waits.current is None:\n            continue\n"
        "        if changed:\n            given.progress.waits(waits.current)\n",
        caught_by=_WAITING
        + "test_nothing_untrue_is_said_while_a_first_load_waits_for_the_hourly_limit",
    ),
    Twin(
        name="a wait that is broken off is not counted",
        promise="P8",
        file="etl/waits.py",
        find="                self._ended_s += time.monotonic() - self._since_s\n",
        replace="                self._ended_s += seconds or 0.0\n",
        caught_by="tests/contract/test_budget.py::"
        "test_a_wait_is_told_while_it_lasts_and_counted_also_when_it_is_broken_off[pool]",
    ),
    Twin(
        name="a wait for a place among the queries is told nobody",
        promise="P8",
        file="etl/waits.py",
        find="asyncio.get_running_loop().call_later(TOLD_S, self._tell, wait)",
        replace="None",
        caught_by=_WAITING + "test_a_second_query_waits_visibly_for_a_place",
    ),
    Twin(
        name="another limit is named than the one that is waited for",
        promise="P8",
        file="etl/core/budget.py",
        find="    at, index = max(free_at, key=lambda each: each[0])\n",
        replace="    at, index = max(free_at, key=lambda each: each[0])[0], free_at[0][1]\n",
        caught_by="tests/unit/core/test_budget.py::test_a_wait_names_the_limit_that_is_free_last",
    ),
    Twin(
        name="the time left forgets the request budget",
        promise="P8",
        file="etl/console/lines.py",
        find="    return max(by_pace_s, reached.least_s - since_s, wait_s)\n",
        replace="    return by_pace_s\n",
        caught_by="tests/unit/test_console.py::"
        "test_what_is_left_takes_no_less_than_the_budget_and_the_wait_allow",
    ),
    Twin(
        name="the time left forgets the requests that were sent before",
        promise="P8",
        file="etl/core/forecast.py",
        find="            if follows >= 0:\n",
        replace="            if follows >= limit.requests:\n",
        caught_by="tests/unit/core/test_forecast.py::test_what_was_sent_before_delays_the_rest",
    ),
    Twin(
        name="a wait that is over slows down the time left",
        promise="P8",
        file="etl/console/lines.py",
        find="    by_pace_s = max(0.0, elapsed_s - waited_s) * (1",
        replace="    by_pace_s = elapsed_s * (1",
        caught_by="tests/unit/test_console.py::"
        "test_a_wait_that_is_over_does_not_slow_down_what_is_left",
    ),
    Twin(
        name="a terminal is shown the log of level info beside the progress",
        promise="P8",
        file="etl/logs.py",
        find='    level = level or ("warning" if on_terminal else "info")\n',
        replace='    level = level or "info"\n',
        caught_by="tests/acceptance/test_commands.py::"
        "test_a_terminal_logs_what_happens_only_when_asked_to",
    ),
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
        find="            wait_s, index = wait_of(now, spent, blocked_until)\n",
        replace="            wait_s, index = wait_of(now, [], blocked_until)\n",
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
        find="for limit in self.limits[name]]\n",
        replace="for limit in self.limits[name][:1]]\n",
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
