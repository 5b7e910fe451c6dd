"""Less requests than the budget of the server allows: a number of them, or a share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from etl.core.budget import share_of
from etl.errors import Stopped
from etl.extractors.client import Budget


class Bound(Protocol):
    """What allows less requests than the budget of the server."""

    def over(self, behind: Budget) -> Budget:
        """Return a budget that lets a request go if both this and the one behind it do."""


class Cap:
    """How many requests are left, for all clients that share it; None: there is no limit."""

    def __init__(self, requests: int | None) -> None:
        self._requests = self._left = requests

    def over(self, behind: Budget) -> Budget:
        """Return a budget that lets a request go if both this and the one behind it do."""
        return behind if self._requests is None else _CappedBudget(behind, self)

    def take(self) -> None:
        """Count a request. Raises Stopped if none is left."""
        if self._left is None:
            return
        if self._left == 0:
            raise Stopped(
                f"Stopped after {self._requests:,} requests, as asked for",
                remedy="Run it again: recordings go on; other lists need a larger --budget if "
                "this is too few for one of them",
            )
        self._left -= 1


class _CappedBudget:
    def __init__(self, behind: Budget, cap: Cap) -> None:
        self._behind = behind
        self._cap = cap

    async def acquire(self, classes: Sequence[str]) -> None:
        """Return when the next request may be sent; see `Budget`. Raises Stopped."""
        self._cap.take()
        await self._behind.acquire(classes)

    async def block(self, classes: Sequence[str], seconds: float) -> None:
        """Delay requests as the server asked; see `Budget`."""
        await self._behind.block(classes, seconds)


class _Share:
    """The share of the budget that verification may spend; the budget behind counts it, too."""

    def over(self, behind: Budget) -> Budget:
        """Return a budget that draws each request from the share as well."""
        return _SharedBudget(behind)


class _SharedBudget:
    def __init__(self, behind: Budget) -> None:
        self._behind = behind

    async def acquire(self, classes: Sequence[str]) -> None:
        """Return when the next request may be sent; see `Budget`."""
        await self._behind.acquire([*classes, *map(share_of, classes)])

    async def block(self, classes: Sequence[str], seconds: float) -> None:
        """Delay requests as the server asked; see `Budget`."""
        await self._behind.block(classes, seconds)


NO_CAP = Cap(None)
SHARE = _Share()
