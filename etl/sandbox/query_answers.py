"""Answers that were given before: results for a day, failures for a while."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from etl.sandbox.clock import DAY_US, HOUR_US
from etl.sandbox.errors import ApiError

_FAILURES_KEPT_US = HOUR_US
_MOST_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with all that decides its answer."""

    sql: str
    values: Mapping[str, Any]
    modifiers: Mapping[str, Any]

    def cache_key(self, project: int) -> str:
        """Equal for equal queries of one project."""
        about = orjson.dumps(
            [project, self.sql, self.values, self.modifiers], option=orjson.OPT_SORT_KEYS
        )
        return f"cache_{hashlib.md5(about, usedforsecurity=False).hexdigest()}"


class Answers:
    """What is kept for one project, by cache key."""

    def __init__(self) -> None:
        """Nothing at first."""
        self._results: dict[str, tuple[int, dict[str, Any]]] = {}
        self._rows = 0
        self._failures: dict[str, tuple[int, ApiError]] = {}

    def result(self, key: str, now_us: int) -> dict[str, Any] | None:
        """A result that is less than a day old, however much changed since then."""
        found = self._results.get(key)
        if found is None or not found[0] <= now_us < found[0] + DAY_US:
            return None
        return {**found[1], "is_cached": True}

    def keep(self, key: str, result: dict[str, Any], now_us: int) -> None:
        """Keeps a result; the oldest are dropped while there are too many rows."""
        replaced = self._results.pop(key, None)
        self._rows += len(result["results"])
        self._rows -= len(replaced[1]["results"]) if replaced else 0
        self._results[key] = (now_us, result)
        while self._rows > _MOST_ROWS and len(self._results) > 1:
            _, oldest = self._results.pop(next(iter(self._results)))
            self._rows -= len(oldest["results"])

    def check(self, key: str, now_us: int) -> None:
        """Raises the error of an equal query that was killed (PostHog source, query_runner.py)."""
        found = self._failures.get(key)
        if found is not None and found[0] <= now_us < found[0] + _FAILURES_KEPT_US:
            raise found[1]

    def keep_failure(self, key: str, error: ApiError, now_us: int) -> None:
        """Keeps an error."""
        self._failures[key] = (now_us, error)
