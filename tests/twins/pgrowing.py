"""Broken twins of the bound of lists that only grow."""

from tests.twins.twin import Twin

_GROWING = "etl/core/growing.py"
_SNAPSHOT = "etl/extractors/snapshot.py"
_TESTS = "tests/unit/extractors/test_growing.py::"
_READ = "tests/acceptance/test_streams_organization.py::"
_ANY = _TESTS + "test_no_row_is_lost_or_stale_wherever_readings_die"

TWINS = [
    Twin(
        name="a list that grows is read from where it was read before, without an overlap",
        promise="P2",
        file=_GROWING,
        find="bound = self.read_until - OVERLAP",
        replace="bound = self.read_until",
        caught_by=_ANY,
    ),
    Twin(
        name="of a list that grows only what is new is read, whatever is still open",
        promise="P5",
        file=_GROWING,
        find="return bound if self.oldest_open is None else min(bound, self.oldest_open)",
        replace="return bound",
        caught_by=_ANY,
    ),
    Twin(
        name="a list that grows counts as read though its reading has not ended",
        promise="P1",
        file=_SNAPSHOT,
        find="read = self._read(place) if last else None",
        replace="read = self._read(place)",
        caught_by=_TESTS + "test_a_reading_that_dies_moves_no_bound",
    ),
    Twin(
        name="a list that grows counts as read up to the end of its reading",
        promise="P2",
        file=_SNAPSHOT,
        find="        if answered.walk is None:\n            descent",
        replace="        if True:\n            descent",
        caught_by=_TESTS + "test_what_is_added_while_a_list_is_read_is_read_next_time",
    ),
    Twin(
        name="reading ends at the first row before the bound, whatever the order",
        promise="P2",
        file=_GROWING,
        find="return self.ordered and self.low < self.bound and self.low < self.high",
        replace="return self.low < self.bound",
        caught_by=_ANY,
    ),
    Twin(
        name="what a clock that ran ahead wrote bounds a list that grows",
        promise="P5",
        file=_GROWING,
        find="if self.read_until is None or self.read_until > latest + TOLERANCE:",
        replace="if self.read_until is None:",
        caught_by=_TESTS + "test_what_a_clock_that_ran_ahead_has_written_is_not_believed",
    ),
    Twin(
        name="how far a list that grows was read is not committed",
        promise="P8",
        file="etl/loaders/postgres.py",
        find="        await self._growing.note(connection, lease.unit, commit.read)\n",
        replace="",
        caught_by=_READ + "test_of_a_list_that_grows_a_sync_reads_only_what_is_new",
    ),
    Twin(
        name="a resync of a list that grows reads what is new",
        promise="P2",
        file="etl/runs/resync.py",
        find="    _bounded = False\n",
        replace="    _bounded = True\n",
        caught_by=_READ
        + "test_of_a_list_that_grows_everything_is_read_when_it_is_asked_for[resync]",
    ),
    Twin(
        name="verify compares what is new of a list that grows",
        promise="P13",
        file="etl/runs/comparing.py",
        find="    _bounded = False\n",
        replace="    _bounded = True\n",
        caught_by=_READ
        + "test_of_a_list_that_grows_everything_is_read_when_it_is_asked_for[verify and repair]",
    ),
]
