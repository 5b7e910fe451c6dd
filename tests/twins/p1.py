"""Broken twins of P1: a batch is not one transaction, or its end is not known for what it is."""

from tests.twins.twin import Twin

_CRASH = "tests/acceptance/test_crash.py::"
_KILLED = _CRASH + "test_a_killed_run_leaves_whole_batches_and_the_next_one_ends_with_the_truth[{}]"
_TROUBLE = "tests/acceptance/test_postgres_trouble.py::"
_ADVANCE = "            await self._advance(connection, lease, commit)\n"

TWINS = [
    Twin(
        name="rows are committed before their checkpoint",
        promise="P1",
        file="etl/loaders/postgres.py",
        find=_ADVANCE + "            sent.append((loaded, commit))\n",
        replace="            sent.append((loaded, commit))\n"
        "        async with self._database.transaction() as connection:\n"
        "            await self._advance(connection, lease, commit)\n",
        caught_by=_KILLED.format("after_the_checkpoint"),
    ),
    Twin(
        name="the checkpoint is committed before its rows",
        promise="P1",
        file="etl/loaders/postgres.py",
        find="        batch, commit = batch_of(stored)\n",
        replace="        batch, commit = batch_of(stored)\n"
        "        async with self._database.transaction() as early:\n"
        "            await self._advance(early, lease, commit)\n"
        "        lease.batch += 1\n",
        caught_by=_KILLED.format("in_copy"),
    ),
    Twin(
        name="run counters are committed on their own",
        promise="P1",
        file="etl/loaders/postgres.py",
        find="            await self._count(connection, lease, batch, commit, loaded)\n",
        replace="            async with self._database.transaction() as early:\n"
        "                await self._count(early, lease, batch, commit, loaded)\n",
        caught_by=_KILLED.format("after_the_checkpoint"),
    ),
    Twin(
        name="rejects are committed on their own",
        promise="P1",
        file="etl/loaders/postgres.py",
        find="            new = await self._rejects.set_aside(connection, project_id, rejected)\n",
        replace="            async with self._database.transaction() as early:\n"
        "                new = await self._rejects.set_aside(early, project_id, rejected)\n",
        caught_by=_CRASH + "test_what_a_killed_batch_set_aside_is_gone_with_it",
    ),
    Twin(
        name="the checkpoint stands for pages that were only fetched",
        promise="P1",
        file="etl/runs/prefetch.py",
        find="            return given\n",
        replace="            from msgspec.structs import replace\n\n"
        "            ahead = (self._pages or given)[-1].place\n"
        "            return [replace(page, place=ahead) for page in given]\n",
        caught_by=_CRASH + "test_pages_that_were_fetched_and_not_loaded_are_read_again",
    ),
    Twin(
        name="a batch that is in already is taken for another run's",
        promise="P1",
        file="etl/loaders/postgres.py",
        find="            raise _AlreadyCommitted\n",
        replace="            pass\n",
        caught_by=_TROUBLE + "test_a_load_goes_on_when_its_connections_break[after_commit-cut]",
    ),
    Twin(
        name="a batch is not repeated when Postgres broke off",
        promise="P1",
        file="etl/loaders/postgres.py",
        find="self._database.attempts():\n                async with attempt:\n"
        "                    try:\n",
        replace="self._database.attempts(()):\n                async with attempt:\n"
        "                    try:\n",
        caught_by=_TROUBLE + "test_a_load_goes_on_when_its_connections_break[in_copy-terminated]",
    ),
    Twin(
        name="a run that took its unit unheard takes itself for another",
        promise="P1",
        file="etl/loaders/leases.py",
        find="                    leases.c.holder == run_id,\n",
        replace="",
        caught_by=_TROUBLE
        + "test_a_load_goes_on_when_its_connections_break[with_the_unit_just_taken-cut]",
    ),
    Twin(
        name="a batch is written before the one before it has committed",
        promise="P1",
        file="etl/loaders/rows.py",
        find="if commit.after is not None:",
        replace="if False:",
        caught_by="tests/contract/test_pages_together.py::test_a_batch_is_staged_while_the_one_"
        "before_is_loaded_and_written_after_it[pool-fails]",
    ),
    Twin(
        name="a batch keeps its connection for as long as the one before it takes",
        promise="P1",
        file="etl/loaders/rows.py",
        find="succeeded(commit.after, self._patience_s)",
        replace="succeeded(commit.after)",
        caught_by="tests/contract/test_pages_together.py::test_a_batch_that_has_to_wait_for_long_"
        "gives_its_connection_back",
    ),
    Twin(
        name="an error while fetching undoes the batch in hand",
        promise="P1",
        file="etl/tasks.py",
        find="            if exc is None or isinstance(exc, Exception):\n",
        replace="            if exc is None:\n",
        caught_by="tests/unit/test_tasks.py::test_an_error_of_the_block_lets_the_last_work_end",
    ),
    Twin(
        name="the migration is not one transaction",
        promise="P1",
        file="etl/loaders/fresh.py",
        find="        for name in (*names.values(), tables.queried.schema):\n",
        replace="        async with database.transaction() as early:\n"
        "            for name in names.values():\n"
        "                made = f'CREATE SCHEMA IF NOT EXISTS {quoted(name)}'\n"
        "                await (await driver_of(early)).execute(made)\n"
        "        for name in (*names.values(), tables.queried.schema):\n",
        caught_by=_CRASH
        + "test_a_run_killed_in_migration_leaves_nothing_of_it[between two tables]",
    ),
    Twin(
        name="a migration forgets what was checked",
        promise="P1",
        file="migrations/versions/0025_complete_until.py",
        find='    op.add_column("runs", column, schema=book)\n',
        replace='    op.add_column("runs", column, schema=book)\n'
        "    op.execute(f'DELETE FROM \"{book}\".checks')\n",
        caught_by="tests/acceptance/test_release.py::"
        "test_what_the_release_before_left_comes_up_to_date_and_its_broken_run_goes_on",
    ),
    Twin(
        name="what a batch set aside is forgotten when its COMMIT goes unanswered",
        promise="P3",
        file="etl/loaders/postgres.py",
        find="the repetition found the batch committed.\n            pass\n",
        replace="the repetition found the batch committed.\n"
        "            sent.append((Loaded(), sent[-1][1]))\n",
        caught_by=_TROUBLE
        + "test_a_batch_whose_commit_went_unanswered_is_counted_once_and_with_its_rejects",
    ),
    Twin(
        name="a run that died runs for ever",
        promise="P3",
        file="etl/loaders/leases.py",
        find='runs.c.status == "running"',
        replace='runs.c.status == "held"',
        caught_by="tests/integration/test_leases.py::"
        "test_a_unit_whose_lease_ran_out_is_taken_over_under_a_higher_fence[pool]",
    ),
]
