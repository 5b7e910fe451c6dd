"""Broken twins of P10: two runs write one unit, or a dead one keeps it."""

from tests.twins.twin import Twin

_LEASES = "tests/integration/test_leases.py::"
_DOUBT = _LEASES + "test_a_holder_of_whom_the_file_says_nothing_certain_keeps_its_lease[pool-{}]"
_ZOMBIE = "tests/acceptance/test_zombie.py::"
_STOOD_STILL = _ZOMBIE + "test_a_run_that_lost_its_place_while_it_stood_still_commits_nothing[{}]"

TWINS = [
    Twin(
        name="the fence is not checked",
        promise="P10",
        file="etl/loaders/postgres.py",
        find="                table.c.fence == lease.fence,\n",
        replace="",
        caught_by=_LEASES
        + "test_whoever_was_taken_over_from_commits_nothing[pool-0-before its first batch]",
    ),
    Twin(
        name="a takeover does not raise the fence",
        promise="P10",
        file="etl/loaders/leases.py",
        find='                    "fence": func.greatest(checkpoints.c.fence + 1, _new_fence()),\n',
        replace="",
        caught_by=_LEASES
        + "test_whoever_was_taken_over_from_commits_nothing[pool-0-before its first batch]",
    ),
    Twin(
        name="a failed fence is not an error",
        promise="P10",
        file="etl/loaders/postgres.py",
        find="        if moved.rowcount == 1:\n",
        replace="        if moved.rowcount <= 1:\n",
        caught_by=_LEASES
        + "test_whoever_was_taken_over_from_commits_nothing[pool-1-after a batch]",
    ),
    Twin(
        name="a unit is always free",
        promise="P10",
        file="etl/loaders/leases.py",
        find="                    leases.c.holder.is_(None),\n",
        replace="                    leases.c.holder.is_not(None),\n"
        "                    leases.c.holder.is_(None),\n",
        caught_by=_LEASES + "test_a_unit_that_is_held_is_not_given_to_another[pool]",
    ),
    Twin(
        name="a lease never runs out",
        promise="P10",
        file="etl/loaders/leases.py",
        find="                    leases.c.expires_at < func.clock_timestamp(),\n",
        replace="",
        caught_by=_LEASES
        + "test_a_unit_whose_lease_ran_out_is_taken_over_under_a_higher_fence[pool]",
    ),
    Twin(
        name="the lease is not prolonged",
        promise="P10",
        file="etl/runs/sync.py",
        find="            renewed = await leases.renew(lease)\n",
        replace="            renewed = True\n",
        caught_by=_ZOMBIE + "test_a_run_that_takes_longer_than_its_lease_keeps_it",
    ),
    Twin(
        name="whoever was taken over from gives the unit away",
        promise="P10",
        file="etl/loaders/leases.py",
        find="                .where(lease.unit.of(leases), leases.c.holder == lease.run_id)\n"
        "                .values(holder=None)\n",
        replace="                .where(lease.unit.of(leases))\n"
        "                .values(holder=None)\n",
        caught_by=_LEASES
        + "test_a_unit_that_was_taken_over_is_neither_prolonged_nor_given_back[pool]",
    ),
    Twin(
        name="the unit is not given back",
        promise="P10",
        file="etl/loaders/leases.py",
        find="                .values(holder=None)\n",
        replace="                .values(holder=lease.run_id)\n",
        caught_by=_LEASES + "test_a_unit_that_was_given_back_is_free_at_once[pool]",
    ),
    Twin(
        name="a stalled run keeps its row locks",
        promise="P10",
        file="etl/loaders/database.py",
        find='"idle_in_transaction_session_timeout": _milliseconds(self._timeouts.idle_s)',
        replace='"idle_in_transaction_session_timeout": "0"',
        caught_by=_STOOD_STILL.format("after_the_upsert"),
    ),
    Twin(
        name="rows are locked while others are still copied",
        promise="P10",
        file="etl/loaders/rows.py",
        find="        return loads, await self._do(batch, loads, lambda table: table.stage)\n",
        replace="""
        def both(table: TableLoad) -> Step:
            async def step(first: int, end: int) -> None:
                await table.stage(first, end)
                await table.upsert(first, end)

            return step

        return loads, await self._do(batch, loads, both)
""",
        caught_by=_STOOD_STILL.format("in_copy_of_the_last_table"),
    ),
    Twin(
        name="losing the unit ends like a failure",
        promise="P10",
        file="etl/errors.py",
        find="    exit_code = EXIT_HELD\n",
        replace="    exit_code = EXIT_FAILED\n",
        caught_by=_ZOMBIE + "test_a_unit_that_is_worked_on_is_not_given_to_another_run",
    ),
    Twin(
        name="a fence is given out twice",
        promise="P10",
        file="etl/loaders/leases.py",
        find='cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger())',
        replace="cast(1, BigInteger())",
        caught_by=_LEASES + "test_a_fence_that_a_crash_has_undone_is_not_given_out_again[pool]",
    ),
    Twin(
        name="a file of another run tells of a death",
        promise="P10",
        file="etl/loaders/run_files.py",
        find="if regular and os.read(descriptor, len(content) + 1) == content:",
        replace="if regular:",
        caught_by=_DOUBT.format("of_another_run"),
    ),
    Twin(
        name="a file of another machine tells of a death",
        promise="P10",
        file="etl/loaders/run_files.py",
        find="os.read(descriptor, len(content) + 1) == content:",
        replace="os.read(descriptor, 36) == content[:36]:",
        caught_by=_DOUBT.format("of_another_machine"),
    ),
    Twin(
        name="the lock of a holder is not tried",
        promise="P10",
        file="etl/loaders/run_files.py",
        find="                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "                return",
        replace="                return",
        caught_by=_LEASES + "test_a_holder_whose_file_is_locked_lives[pool]",
    ),
    Twin(
        name="nobody looks whether the holder is dead",
        promise="P10",
        file="etl/loaders/leases.py",
        find="            found = await self._dead_holder(unit)\n",
        replace="            found = None\n",
        caught_by=_LEASES + "test_a_unit_whose_holder_died_here_is_taken_over_at_once[pool]",
    ),
    Twin(
        name="lost commits are taken for a takeover",
        promise="P3",
        file="etl/loaders/leases.py",
        find="if row is not None and tuple(row) >= (lease.fence, lease.batch):",
        replace="if not isinstance(row, str):",
        caught_by="tests/adversary/test_lost_commits.py::"
        "test_a_run_whose_commits_are_lost_fails_and_says_so_and_the_next_goes_on",
    ),
]
