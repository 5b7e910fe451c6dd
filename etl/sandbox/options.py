"""The options of a sandbox."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from etl.sandbox.clock import ClockMode

Flavour = Literal["docs", "cloud"]
DateFilter = Literal["honoured", "ignored", "refused"]
PageVersion = Literal["A", "C", "D", "mixed"]
ServerVersion = Literal["current", "offset_only"]
QueryAccess = Literal["open", "forbidden", "paid", "missing"]
Plan = Literal["off", "free", "paid", "enterprise"]


_LEAST = {
    **dict.fromkeys(
        ("recordings", "subscriptions", "groups", "insights", "playlists", "secret_keys",
         "cohorts", "others", "events_per_recording", "query_polls", "query_budget_bytes"), 0
    ),
    **dict.fromkeys(("start_ties", "event_ties", "query_cap_rows", "query_concurrency"), 1),
}  # fmt: skip


@dataclass(frozen=True)
class SandboxOptions:
    """How the sandbox answers and how much data it has.

    Exactly `recordings` exist in each project at `now`, spread over the `days` before it (some
    days may be so far back that part of them has expired). More become visible at the same rate
    as the clock moves on. The same options and seed give the same data.
    """

    flavour: Flavour = "cloud"
    """`docs` answers as the documentation says, `cloud` as the real server does."""
    seed: int = 1
    recordings: int = 2000
    persons: int | None = None
    """Size of the pool that recordings draw from; a tenth of the recordings unless given."""
    days: float = 30.0
    projects: tuple[int, ...] = (1,)
    key: str = field(default="phx_sandbox", repr=False)
    host: str = "127.0.0.1"
    port: int = 8010
    """0 picks a free one."""
    now: datetime | None = None
    """Where the clock starts; the real time, cut to the second, unless given."""
    clock: ClockMode = "running"
    limits: Plan = "off"
    """Whose rate limits are enforced, by the sandbox's clock."""
    date_filter: DateFilter | None = None
    """What becomes of date_from and date_to; cloud honours and docs ignores them unless given."""
    page_version: PageVersion = "D"
    """docs only: which documented shape records have; `mixed` varies by record."""
    server_version: ServerVersion = "current"
    """cloud only: `offset_only` is an older server that knows no cursor."""
    default_order: Literal["newest", "oldest"] = "newest"
    """Which recordings a list begins with, unless the request says."""
    expires_by_piece: bool = False
    """An older server: in its last day a recording loses piece by piece."""
    start_ties: int = 1
    """Every so many neighbouring recordings share one start_time."""
    subscriptions: int = 12
    """How many of them each project has; every sixth is deleted. So for the others below."""
    groups: int = 250
    """Over three types: six, three and one tenth of them."""
    insights: int = 30
    cohorts: int = 4
    playlists: int = 8
    secret_keys: int = 3
    others: int = 10
    """Of each further resource: annotations, actions, flags, dashboards and so on."""
    events_per_recording: int = 3
    """How many events each generated recording has; added recordings have none."""
    event_ties: int = 1
    """Every so many neighbouring events share one created_at."""
    timezone: str = "UTC"
    """The project's, in which queries show instants."""
    sessions_version: Literal[2, 3] = 3
    """Of the sessions table: 2 has no max_inserted_at."""
    query_access: QueryAccess = "open"
    """Otherwise the query endpoint refuses every request: 403, 402 or 404."""
    query_cap_rows: int = 50_000
    """A greater LIMIT is lowered to it without a word."""
    query_polls: int = 0
    """How often a query in the background is still running when it is asked for."""
    query_concurrency: int = 3
    """How many queries of a project may be carried out at once."""
    query_budget_bytes: int = 20_000_000_000
    """What queries of a project may read an hour; 0: they are not counted."""

    def __post_init__(self) -> None:
        """Raises ValueError, naming the option, for a value that makes no sense."""
        for name, lowest in _LEAST.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}")
        if self.persons is not None and self.persons < 1:
            raise ValueError("persons must be at least 1")
        if self.days <= 0:
            raise ValueError("days must be more than 0")
        if not self.projects:
            raise ValueError("projects must name at least one")

    @property
    def dates(self) -> DateFilter:
        """The date filter in force."""
        if self.date_filter is not None:
            return self.date_filter
        return "honoured" if self.flavour == "cloud" else "ignored"

    @property
    def person_pool(self) -> int:
        """How many persons each project can draw from."""
        return self.persons if self.persons is not None else max(1, self.recordings // 10)
