"""Broken twins of the commands: what they show and write, and how they end."""

from tests.twins.twin import Twin

_SQL = "tests/acceptance/test_sql.py::"
_INIT = "tests/acceptance/test_init.py::"
_COMMANDS = "tests/acceptance/test_commands.py::"

_PLAN = "tests/acceptance/test_plan.py::"

_WORDS = "tests/acceptance/test_status_words.py::"
_PAGE = "tests/unit/test_page.py::"

_SERVED = "tests/integration/test_page.py::"

TWINS = [
    Twin(
        name="up to when a run left its stream complete is forgotten",
        promise="P3",
        file="etl/loaders/history.py",
        find="complete_until=self._complete_until(lease.unit).scalar_subquery(),\n",
        replace="complete_until=None,\n",
        caught_by="tests/acceptance/test_page.py::test_a_real_sync_appears_on_the_page",
    ),
    Twin(
        name="a list repeats the last row of the page before",
        promise="P3",
        file="etl/loaders/listing.py",
        find="else tuple_(*key) < there)\n",
        replace="else tuple_(*key) <= there)\n",
        caught_by=_SERVED + "test_lists_are_turned_page_by_page",
    ),
    Twin(
        name="a run that died is listed as running",
        promise="P3",
        file="etl/loaders/seen_runs.py",
        find="            ways.append(and_(runs.c.status == RUNNING, held))\n",
        replace="            ways.append(runs.c.status == RUNNING)\n",
        caught_by=_SERVED + "test_a_run_that_died_is_listed_as_failed_and_not_as_running",
    ),
    Twin(
        name="`runs` shows a run that died as it is stored",
        promise="P3",
        file="etl/app.py",
        find="        return [shown_run(row) for row in await history.runs(limit, chosen)]\n",
        replace="        return [dict(row) for row in await history.runs(limit, chosen)]\n",
        caught_by="tests/acceptance/test_waiting.py::"
        "test_a_run_that_died_while_it_waited_waits_no_longer",
    ),
    Twin(
        name="a larger value is drawn lower",
        promise="P3",
        file="etl/service/page/plots.py",
        find="    return HEIGHT * (1.0 - min(1.0, max(0.0, value / top)))\n",
        replace="    return HEIGHT * min(1.0, max(0.0, value / top))\n",
        caught_by="tests/unit/test_plots.py::test_the_more_the_higher",
    ),
    Twin(
        name="a first load is said to be well",
        promise="P3",
        file="etl/service/page/overview.py",
        find="        first = any(line.is_first_load for line in self.lines)\n",
        replace="        first = not self.lines\n",
        caught_by=_PAGE + "test_a_first_load_is_not_said_to_be_well",
    ),
    Twin(
        name="a backfill of which nothing is complete yet misses nothing",
        promise="P3",
        file="etl/service/page/overview.py",
        find="    missing = holes if complete.until is not None else",
        replace="    missing = holes if True else",
        caught_by=_PAGE + "test_a_first_load_is_not_said_to_be_well",
    ),
    Twin(
        name="a failure is forgotten as soon as it is tried again",
        promise="P3",
        file="etl/core/statuses.py",
        find="        if shown_status(run) != RUNNING or status not in (FAILED, PARTIAL):\n",
        replace="        if run['unit'] or status not in (FAILED, PARTIAL):\n",
        caught_by=_WORDS
        + "test_a_stream_that_is_tried_again_says_how_it_ended_before"
        + "[failed-The last sync failed]",
    ),
    Twin(
        name="what needs a look is anywhere in a long table",
        promise="P3",
        file="etl/console/views.py",
        find="    rows = sorted(found.streams, key=lambda row: _rank(_state(row)))\n",
        replace="    rows = list(found.streams)\n",
        caught_by=_WORDS + "test_what_needs_a_look_is_above_a_long_table_and_first_in_it",
    ),
    Twin(
        name="plan asks about every list, however many requests that takes",
        promise="P8",
        file="etl/runs/asking.py",
        find="        if self.sent + len(resource.lists) > self._most:\n",
        replace="        if self._most == 0:\n",
        caught_by=_PLAN + "test_every_stream_of_a_first_load_is_forecast_and_sharing_in_time",
    ),
    Twin(
        name="plan counts recordings that the list does not show any more",
        promise="P8",
        file="etl/core/amount.py",
        find="        if datetime.combine(day, time(), UTC) + timedelta(days=days) > now:\n",
        replace="        if day <= now.date() and days:\n",
        caught_by="tests/unit/core/test_amount.py::test_a_query_counts_what_the_list_still_shows",
    ),
    Twin(
        name="plan counts again what a broken first load has stored",
        promise="P8",
        file="etl/runs/unit_forecast.py",
        find="    left = max(0, total.value - here)\n",
        replace="    left = total.value\n",
        caught_by=_PLAN + "test_a_first_load_that_was_broken_off_is_forecast_less_what_is_here",
    ),
    Twin(
        name="psql gets the password as an argument",
        promise="P11",
        file="etl/loaders/psql.py",
        find="subprocess.run([program], env=",
        replace="subprocess.run([program, 'password=' + address.variables['PGPASSWORD']], env=",
        caught_by=_SQL + "test_a_terminal_gets_psql_and_no_password_is_in_the_list_of_processes",
    ),
    Twin(
        name="others can read the configuration that init writes",
        promise="P11",
        file="etl/begin.py",
        find="            os.replace(name, path)\n",
        replace="            os.chmod(name, 0o644)\n            os.replace(name, path)\n",
        caught_by=_INIT + "test_a_person_is_asked_and_asked_again_and_then_can_sync",
    ),
    Twin(
        name="a line of an env file is quoted in the error",
        promise="P11",
        file="etl/settings/env_file.py",
        find="line {line.original.line} is not NAME=value",
        replace="line {line.original.line} is not NAME=value: {line.original.string}",
        caught_by="tests/unit/test_settings.py::"
        "test_an_env_file_that_cannot_be_read_is_told_by_its_line[two words]",
    ),
    Twin(
        name="init writes answers that failed their test",
        promise="P3",
        file="etl/cli/begin.py",
        find="            if wrong is not None:\n",
        replace="            if wrong is None:\n",
        caught_by=_INIT
        + "test_without_a_terminal_what_is_wrong_is_told_and_nothing_written[project]",
    ),
    Twin(
        name="a configuration error leaves stdout empty with --json",
        promise="P3",
        file="etl/cli/shared.py",
        find="    print_json_error(cause, code, remedy)\n    raise typer.Exit(code)\n",
        replace="    raise typer.Exit(code)\n",
        caught_by=_COMMANDS
        + "test_with_json_an_error_is_a_document_too[a setting that is missing]",
    ),
    Twin(
        name="a wrong statement ends like a database that fails",
        promise="P3",
        file="etl/loaders/sql.py",
        find="if exc.sqlstate.startswith(_WRONG) and",
        replace="if not exc.sqlstate and",
        caught_by=_SQL + "test_a_wrong_statement_gets_one_line[syntax]",
    ),
    Twin(
        name="status shows streams of every status",
        promise="P3",
        file="etl/core/statuses.py",
        find="            and (not self.statuses or status in self.statuses)\n",
        replace="",
        caught_by=_COMMANDS
        + "test_status_is_chosen_by_stream_status_and_last_run[--status running-]",
    ),
    Twin(
        name="the words of the driver are shown when a connection breaks",
        promise="P3",
        file="etl/loaders/database.py",
        find='        "The connection to Postgres broke",\n',
        replace='        "The connection to Postgres broke: unexpected asyncpg.protocol state",\n',
        caught_by="tests/unit/test_database_errors.py::"
        "test_no_inner_word_of_a_library_is_shown[protocol]",
    ),
]
