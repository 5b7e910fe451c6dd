"""Broken twins of what the machine around the command does to it: its files, clocks, neighbours."""

from tests.twins.twin import Twin

_ENVIRONMENT = "tests/adversary/test_environment.py::"
_HALF_SENT = (
    "tests/adversary/test_half_sent.py::test_half_sent_requests_keep_nobody_out_and_the_syncs_going"
)

TWINS = [
    Twin(
        name="~/.netrc is read",
        promise="P3",
        file="etl/app.py",
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
]
