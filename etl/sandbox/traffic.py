"""The requests that the sandbox got, and its answers."""

from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

KEPT_REQUESTS = 10_000


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `status` is null when the connection was reset or the client left."""

    n: int
    at: str
    method: str
    path: str
    query: dict[str, str]
    status: int | None
    key_fingerprint: str | None
    bytes: int


class Traffic:
    """The last requests, and exact totals of all requests."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._kept: deque[Request] = deque(maxlen=KEPT_REQUESTS)
        self._total = 0
        self.by_class: Counter[str] = Counter()
        self.by_status: Counter[str] = Counter()

    def add(
        self,
        classes: tuple[str, ...],
        *,
        at: str,
        method: str,
        path: str,
        query: dict[str, str],
        status: int | None,
        key_fingerprint: str | None,
        size_bytes: int,
    ) -> None:
        """Notes a request."""
        self._total += 1
        self.by_class.update(classes or ("none",))
        self.by_status["reset" if status is None else str(status)] += 1
        shown = {k: v for k, v in query.items() if k != "personal_api_key"}
        self._kept.append(
            Request(self._total, at, method, path, shown, status, key_fingerprint, size_bytes)
        )

    @property
    def total(self) -> int:
        """How many requests there were since the start or the last reset."""
        return self._total

    def since(self, n: int) -> list[dict[str, Any]]:
        """The kept requests with a number above `n`."""
        return [asdict(request) for request in self._kept if request.n > n]

    def reset(self) -> None:
        """Forgets all requests; numbers begin with 1 again."""
        self._kept.clear()
        self._total = 0
        self.by_class.clear()
        self.by_status.clear()
