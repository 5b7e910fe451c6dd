"""Faults on demand: rules that say which requests fail, and how."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

TOO_MANY = "Too many queries are running right now — please try again in a moment."
"""What a query beyond the concurrency of a project is told (PostHog source, api/query.py)."""
PRESETS: Mapping[str, dict[str, Any]] = {
    "429_header": {"status": 429, "wait_s": 30},
    "429_text": {"status": 429, "wait_s": 30, "headers": {"Retry-After": None}},
    "429_bare": {"status": 429},
    "429_capacity": {"status": 429, "detail": "ClickHouse is at capacity. Try again later."},
    "429_timeout": {"status": 429, "detail": "Query timeout exceeded. Try again later."},
    "402": {"status": 402},
    "403_scope": {
        "status": 403,
        "detail": "API key missing required scope 'session_recording:read'",
    },
    "403_project": {"status": 403, "detail": "You don't have access to the project."},
    "403_query": {
        "status": 403,
        "detail": "API key missing required scope 'query:read'",
    },
    "429_queries": {
        "status": 429,
        "detail": TOO_MANY,
    },
    "429_budget": {
        "status": 429,
        "body": {
            "type": "throttled_error",
            "code": "api_queries_budget_exceeded",
            "detail": "The budget of bytes that queries of this project may read is used up.",
            "attr": None,
        },
        "headers": {"Retry-After": "30"},
    },
    "404_project": {"status": 404, "detail": "Project not found."},
    "401": {"status": 401},
    "500_error_body": {
        "status": 500,
        "body": {"error": "An internal error has occurred. Please try again later."},
    },
    "504": {"status": 504},
    "512": {"status": 512},
    "513": {"status": 513},
    "502_html": {"status": 502, "body": "html"},
    "login_page": {"status": 200, "body": "html"},
}


@dataclass(frozen=True)
class Mutation:
    """Changes records of a page. `raw`: JSON text that is inserted unchanged.

    A field name may lead into an object: `person.properties`.
    """

    record: int | Literal["all"] = 0
    set: Mapping[str, Any] = field(default_factory=dict)
    unset: Sequence[str] = ()
    raw: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """The faults of one answer. Several may be combined."""

    status: int | None = None
    body: Any = "json"
    """`json` (an error in PostHog's form), `html`, `empty`, or an object sent as it is."""
    detail: str | None = None
    wait_s: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Added to the answer; null takes one away."""
    reset: Literal["before", "mid"] | None = None
    truncate: int | None = None
    not_json: bool = False
    latency_s: float = 0
    hang: bool = False
    clamp_limit: int | None = None
    repeat_cursor: bool = False
    restart_cursor: bool = False
    repeat_page: bool = False
    duplicate_rows: bool = False
    short_page: int | None = None
    empty_page: bool = False
    omit: Sequence[int] = ()
    """Places of rows that the page leaves out without a trace; -1 is the last one."""
    next_host: str | None = None
    killed: Literal["time", "bytes"] | None = None
    """The limit that the query hits: it is killed, and so is every equal one for a while."""
    killed_above_rows: int | None = None
    """The query hits the time limit if it reads more rows."""
    failed: bool = False
    """The query fails without a message."""
    polls: int | None = None
    """How often the query that begins is still running when it is asked for."""
    lost: bool = False
    """The query that is asked for is forgotten first."""
    query_s: float = 0
    """How long a query takes, in seconds of real time; it counts as running meanwhile."""
    mutate: tuple[Mutation, ...] = ()
    then: tuple[Mapping[str, Any], ...] = ()
    """Data operations carried out after this answer."""


NO_FAULT = Fault()
_FAULT_FIELDS = {f.name for f in fields(Fault)}
_RULE_FIELDS = {"match", "at", "every", "from", "first", "times", "fault"}


@dataclass
class Rule:
    """Which requests a fault applies to. Matching requests are counted from 1."""

    path: str
    method: str | None
    parameter: str | None
    body: bytes | None
    """Text that the body must contain."""
    fault: Mapping[str, Any]
    spec: Mapping[str, Any]
    at: Sequence[int] | None = None
    every: int | None = None
    begin: int | None = None
    first: int | None = None
    times: int | None = None
    matched: int = 0
    hits: int = 0

    def strikes(
        self, method: str, path: str, parameters: Collection[str], body: bytes = b""
    ) -> bool:
        """Counts a request and tells whether the fault applies to it."""
        if self.body is not None and self.body not in body:
            return False
        if self.path not in path or (self.method and self.method != method):
            return False
        if self.parameter is not None and self.parameter not in parameters:
            return False
        self.matched += 1
        nth = self.matched
        due = (
            (self.at is None or nth in self.at)
            and (self.every is None or nth % self.every == 0)
            and (self.begin is None or nth >= self.begin)
            and (self.first is None or nth <= self.first)
            and (self.times is None or self.hits < self.times)
        )
        self.hits += due
        return due


def parse_rule(spec: Mapping[str, Any]) -> Rule:
    """A rule from the JSON of the control endpoint. Raises ValueError naming what is wrong."""
    unknown = spec.keys() - _RULE_FIELDS
    if unknown:
        raise ValueError(f"unknown in a rule: {', '.join(sorted(unknown))}")
    match = spec.get("match", {})
    fault = dict(spec.get("fault", {}))
    preset = fault.pop("preset", None)
    if preset is not None:
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
        fault = {**PRESETS[preset], **fault}
    unknown = fault.keys() - _FAULT_FIELDS
    if unknown or not fault:
        raise ValueError(f"unknown fault: {', '.join(sorted(unknown)) or 'none given'}")
    if "mutate" in fault:
        given = fault["mutate"]
        mutations = given if isinstance(given, list) else [given]
        fault["mutate"] = tuple(Mutation(**mutation) for mutation in mutations)
    if fault.get("killed") not in (None, "time", "bytes"):
        raise ValueError("killed must be time or bytes")
    if "then" in fault:
        fault["then"] = tuple(fault["then"])
    at = spec.get("at")
    return Rule(
        path=match.get("path", ""),
        method=match.get("method"),
        parameter=match.get("parameter"),
        body=None if "body" not in match else str(match["body"]).encode(),
        fault=fault,
        spec=spec,
        at=[at] if isinstance(at, int) else at,
        every=spec.get("every"),
        begin=spec.get("from"),
        first=spec.get("first"),
        times=spec.get("times"),
    )


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        """None at first."""
        self._rules: list[Rule] = []
        self.last_rows: dict[str, list[Any]] = {}
        """The rows of the last answer by path, for `repeat_page`."""

    def add(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Adds rules, all or none. Raises ValueError for one that can't be read."""
        try:
            self._rules += [parse_rule(spec) for spec in specs]
        except (TypeError, AttributeError) as exc:
            raise ValueError(f"a rule that can't be read: {exc}") from exc

    def clear(self) -> None:
        """Removes all rules, and forgets the rows that `repeat_page` would repeat."""
        self._rules.clear()
        self.last_rows.clear()

    def listed(self) -> list[dict[str, Any]]:
        """The rules with how often they matched and hit."""
        return [{**r.spec, "matched": r.matched, "hits": r.hits} for r in self._rules]

    @property
    def read_bodies(self) -> bool:
        """Whether a rule asks what the body of a request is."""
        return any(rule.body is not None for rule in self._rules)

    def strike(
        self, method: str, path: str, parameters: Collection[str] = (), body: bytes = b""
    ) -> Fault:
        """Counts a request in every rule; returns all faults that apply to it as one."""
        together = NO_FAULT
        for rule in self._rules:
            if rule.strikes(method, path, parameters, body):
                joined: dict[str, Any] = {
                    name: (*getattr(together, name), *value)
                    if name in ("mutate", "then")
                    else value
                    for name, value in rule.fault.items()
                }
                together = replace(together, **joined)
        return together
