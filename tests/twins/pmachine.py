"""Broken twins of what the machine around the command does to it: its files, clocks, neighbours."""

from tests.twins.twin import Twin

_ENVIRONMENT = "tests/adversary/test_environment.py::"
_HALF_SENT = (
    "tests/adversary/test_half_sent.py::test_half_sent_requests_keep_nobody_out_and_the_syncs_going"
)

_OTHER_SOURCE = "tests/adversary/test_other_source.py::"
_EMBEDDED = (
    "tests/integration/test_embedded_postgres.py::"
    "test_nobody_else_may_enter_read_the_log_or_hold_the_locks"
)
_STATUS = "tests/adversary/test_status.py::"

TWINS = [
    Twin(
        name="~/.netrc is read",
        promise="P3",
        file="etl/extractors/connection.py",
        find="        proxy=proxy,\n",
        replace="        trust_env=True,\n",
        caught_by=_ENVIRONMENT + "test_a_netrc_entry_for_the_host_is_left_alone",
    ),
    Twin(
        name="as many connections as come",
        promise="P3",
        file="etl/service/connections.py",
        find="            self._make_room()\n",
        replace="",
        caught_by=_HALF_SENT,
    ),
    Twin(
        name="the clock of the database is read once",
        promise="P5",
        file="etl/runs/sync.py",
        find="                tools.client.set_clock(await tools.history.database_now())\n",
        replace="",
        caught_by="tests/adversary/test_worker_clock.py::"
        "test_every_unit_reads_the_clock_of_the_database_again",
    ),
    Twin(
        name="plan does not look at the source",
        promise="P6",
        file="etl/app.py",
        find="    if accept_host:\n        return None\n",
        replace="    if not accept_host:\n        return None\n",
        caught_by=_OTHER_SOURCE
        + "test_every_command_that_asks_the_source_refuses_another_one[plan]",
    ),
    Twin(
        name="check does not look at the source",
        promise="P6",
        file="etl/app.py",
        find="                findings += examine_hosts(settings.host, await history.hosts())\n",
        replace="",
        caught_by=_OTHER_SOURCE
        + "test_every_command_that_asks_the_source_refuses_another_one[check]",
    ),
    Twin(
        name="another server of this machine is not named",
        promise="P6",
        file="etl/app.py",
        find='            _log.warning("source.doubted", reason=doubt)\n',
        replace="            pass\n",
        caught_by=_OTHER_SOURCE + "test_two_servers_of_this_machine_are_named_in_a_warning",
    ),
    Twin(
        name="only the last run counts",
        promise="P3",
        file="etl/loaders/history.py",
        find='            row.update(state_of(row, row["failures"]))\n',
        replace="",
        caught_by=_STATUS
        + "test_a_window_that_failed_counts_after_a_good_sync_until_its_time_is_loaded",
    ),
    Twin(
        name="a failed window counts for ever",
        promise="P3",
        file="etl/core/statuses.py",
        find="    return not Coverage(_united(spans)).holes(span)\n",
        replace="    return False\n",
        caught_by=_STATUS
        + "test_a_window_that_failed_counts_after_a_good_sync_until_its_time_is_loaded",
    ),
    Twin(
        name="nobody is asked before data is destroyed",
        promise="P6",
        file="etl/upkeep.py",
        find="            if lost := loss.rows:\n",
        replace="            if lost := {}:\n",
        caught_by="tests/adversary/test_destroys.py::"
        "test_going_to_an_older_version_names_what_it_destroys_and_wants_yes",
    ),
    Twin(
        name="the data directory is open to everybody",
        promise="P11",
        file="etl/loaders/embedded/user.py",
        find="            directory.chmod(0o700)\n",
        replace="            pass\n",
        caught_by=_EMBEDDED + "[an older version]",
    ),
    Twin(
        name="files of older versions stay open to everybody",
        promise="P11",
        file="etl/loaders/embedded/user.py",
        find="        os.fchmod(descriptor, 0o600)\n",
        replace="        pass\n",
        caught_by=_EMBEDDED + "[an older version]",
    ),
]
