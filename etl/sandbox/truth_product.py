"""What a perfect reader would have now of what product teams made: straight from the store.

It shares nothing with the code that answers requests. Left out are columns that move by themselves.
Null is what the server in force does not send; the documented flavour is an older server:

- of annotations everything about dashboards, `emoji`, `hidden_in_user_interface` and `tags`;
- of actions `is_action` and `pinned_at`.

Records that a user deleted are rows where the server finds them by their id: a reader that stored
them before sees that they are deleted. None is deleted at first.
"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store
from etl.sandbox.truth_groups import time_text

PRODUCT_TABLES = ("annotations", "actions")
Row = dict[str, Any]


class ProductTruth:
    """The truth about the records of one project. Each table has a method of its name."""

    def __init__(self, store: Store, options: SandboxOptions, project: int) -> None:
        self._store, self._project = store, project
        self._cloud = options.flavour == "cloud"

    def named_users(self) -> set[int | None]:
        """The users whom these records name."""
        return {
            row[name]
            for table in PRODUCT_TABLES
            for row in getattr(self, table)()
            for name in ("created_by", "last_modified_by")
            if name in row
        }

    def annotations(self) -> Iterator[Row]:
        """Those that were not deleted, but for those on an insight that was."""
        gone = {each.id for each in self._store.insights.values() if each.deleted}
        for key in sorted(self._store.annotations):
            row = self._plain(self._store.annotations[key])
            if row["deleted"] or (
                row["scope"] == "dashboard_item" and row["dashboard_item"] in gone
            ):
                continue
            insight = self._store.insights.get(row["dashboard_item"])
            row["insight_short_id"] = insight.short_id if insight else None
            yield self._sent(row, "dashboard_id", "emoji", "hidden_in_user_interface", "tags")

    def actions(self) -> Iterator[Row]:
        """All of them, also deleted ones."""
        for key in sorted(self._store.actions):
            row = self._plain(self._store.actions[key])
            del row["last_calculated_at"]
            row |= {"team_id": self._project, "is_action": True}
            yield self._sent(row, "is_action", "pinned_at")

    def _sent(self, row: Row, *newer: str) -> Row:
        """The row as the server sends it: an older one leaves out the newer fields."""
        return row if self._cloud else row | dict.fromkeys(newer)

    def _plain(self, record: Any) -> Row:
        """Instants as the server writes them, and only users who still exist."""
        row = {
            name: time_text(value) if isinstance(value, datetime) else value
            for name, value in asdict(record).items()
        }
        for name in ("created_by", "last_modified_by"):
            if row.get(name) not in self._store.users:
                row |= {name: None} if name in row else {}
        return row
