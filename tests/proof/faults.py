"""Random faults of the source, as rules for the sandbox."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Rule = dict[str, Any]

_LIST = "session_recordings/"


def _once(fault: Rule) -> st.SearchStrategy[Rule]:
    return st.builds(lambda nth: {"at": nth, "fault": fault}, st.integers(1, 6))


def _throughout(fault: Rule) -> st.SearchStrategy[Rule]:
    return st.builds(lambda first: {"from": first, "fault": fault}, st.integers(1, 4))


def _now_and_then(fault: Rule) -> st.SearchStrategy[Rule]:
    return st.builds(lambda every: {"every": every, "fault": fault}, st.integers(2, 4))


_FAILURES: list[Rule] = [
    {"preset": "500_error_body"},
    {"status": 503},
    {"preset": "502_html"},
    {"preset": "504"},
    {"preset": "429_bare"},
    {"preset": "429_header"},
    {"preset": "login_page"},
    {"reset": "before"},
    {"reset": "mid"},
    {"truncate": 100},
    {"not_json": True},
    {"preset": "403_scope"},
    {"preset": "404_project"},
]
_BAD_LISTS: list[Rule] = [
    {"empty_page": True},
    {"short_page": 1},
    {"short_page": 3},
    {"clamp_limit": 2},
    {"clamp_limit": 7},
    {"duplicate_rows": True},
    {"repeat_cursor": True},
    {"restart_cursor": True},
    {"repeat_page": True},
]

# Changes while the list is read: the operation and which recording, see `Machine.operation`.
_CHANGES = st.builds(
    lambda nth, op, which: {"at": nth, "fault": {"then": [(op, which)]}},
    st.integers(1, 5),
    st.sampled_from(["delete", "start", "late", "early", "view"]),
    st.integers(0, 200),
)

RULES = st.one_of(
    st.sampled_from(_FAILURES).flatmap(_once),
    st.sampled_from(_BAD_LISTS).flatmap(_once),
    st.sampled_from(_BAD_LISTS).flatmap(_throughout),
    st.sampled_from([*_FAILURES, *_BAD_LISTS]).flatmap(_now_and_then),
    _CHANGES,
)
