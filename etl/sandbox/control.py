"""Steers a sandbox while it runs: clock, faults, data, keys, and the truth about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from etl.sandbox.auth import Key
from etl.sandbox.clock import ClockMode, to_text, to_us
from etl.sandbox.state import State
from etl.sandbox.truth import STREAMS, Truth
from etl.sandbox.truth_queries import QUERY_STREAMS, QueryTruth


class Control:
    """The calls of the control endpoint as plain methods, with the same arguments and answers.

    They raise ValueError for invalid arguments.
    """

    def __init__(self, state: State) -> None:
        """Steers this sandbox."""
        self._state = state

    def state(self) -> dict[str, Any]:
        """The time, the amount of data, and the requests so far."""
        clock, traffic = self._state.clock, self._state.traffic
        return {
            "now": to_text(clock.now_us()),
            "clock": clock.mode,
            "flavour": self._state.options.flavour,
            "recordings": {
                str(n): tenant.visible_count(clock.now_us())
                for n, tenant in self._state.tenants.items()
            },
            "requests": {
                "total": traffic.total,
                "by_class": dict(traffic.by_class),
                "by_status": dict(traffic.by_status),
            },
            "faults": self._state.faults.listed(),
        }

    def advance(self, by_s: float) -> dict[str, Any]:
        """Moves the clock on by seconds."""
        self._state.clock.advance(by_s)
        return self.state()

    def set_clock(
        self, now: datetime | None = None, mode: ClockMode | None = None
    ) -> dict[str, Any]:
        """Sets the clock to an instant, and starts or stops it."""
        if mode not in (None, "running", "frozen"):
            raise ValueError("mode must be running or frozen")
        if now is not None:
            self._state.clock.set(to_us(now))
        if mode is not None:
            self._state.clock.switch(mode)
        return self.state()

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """The last requests with a number above `since`."""
        return self._state.traffic.since(since)

    def reset_requests(self) -> dict[str, Any]:
        """Forgets all requests."""
        self._state.traffic.reset()
        return self.state()

    def add_faults(self, *rules: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Adds rules and lists all."""
        self._state.faults.add(rules)
        return self.faults()

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force with how often they matched and hit."""
        return self._state.faults.listed()

    def clear_faults(self) -> list[dict[str, Any]]:
        """Removes all rules."""
        self._state.faults.clear()
        return self.faults()

    def change(
        self, *operations: Mapping[str, Any], project: int | None = None
    ) -> list[dict[str, Any]]:
        """Changes the data of a project. Default: the first one, unless an operation names another.

        If an operation is invalid, those before it are done.
        """
        return self._state.change(operations, project)

    def answer_as(self, **changes: Any) -> dict[str, Any]:
        """Becomes another server over the same data: flavour, server_version, date_filter, …"""
        allowed = {
            "flavour", "server_version", "date_filter", "page_version", "timezone",
            "sessions_version", *(name for name in vars(self._state.options) if "query_" in name),
        }  # fmt: skip
        if unknown := changes.keys() - allowed:
            raise ValueError(
                f"only how it answers can be changed, not {', '.join(sorted(unknown))}"
            )
        self._state.options = replace(self._state.options, **changes)
        return self.state()

    def put_key(
        self,
        key: str,
        scopes: Sequence[str] = ("*",),
        projects: Sequence[int] | None = None,
        active: bool = True,
    ) -> dict[str, Any]:
        """Adds a key or replaces it; `projects` None means all."""
        allowed = None if projects is None else tuple(projects)
        self._state.keys.put(Key(key, tuple(scopes), allowed, active))
        return {"scopes": list(scopes), "projects": projects, "active": active}

    def truth_rows(self, stream: str, project: int | None = None) -> Iterator[dict[str, Any]]:
        """What a perfect reader has of one stream now, in the order of keys."""
        if stream not in (*STREAMS, *QUERY_STREAMS):
            known = ", ".join((*STREAMS, *QUERY_STREAMS))
            raise ValueError(f"unknown stream {stream!r}; there are {known}")
        data = self._state.tenant(project).data
        if stream in QUERY_STREAMS:
            return QueryTruth(data, self._state.clock.now_us()).rows(stream)
        return Truth(data, self._state.options, self._state.clock.now_us()).rows(stream)

    def truth(self, project: int | None = None) -> dict[str, Any]:
        """What a perfect reader has of all streams now, but for those of the query endpoint."""
        now_us = self._state.clock.now_us()
        truth = Truth(self._state.tenant(project).data, self._state.options, now_us)
        return {"now": to_text(now_us), **{name: list(truth.rows(name)) for name in STREAMS}}
