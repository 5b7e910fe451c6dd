"""What a perfect reader would have now of dashboards and of who may edit them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from etl.sandbox.kinds_dashboards import Dashboard
from etl.sandbox.store import Store
from etl.sandbox.truth_groups import time_text

Row = dict[str, Any]


class DashboardTruth:
    """The truth about the dashboards of one project."""

    def __init__(self, store: Store, project: int) -> None:
        """`project` is its id."""
        self._store = store
        self._project = project

    def dashboards(self) -> Iterator[Row]:
        """Those that were not deleted, unlisted ones too."""
        for dashboard in self.living():
            row = asdict(dashboard)
            del row["last_accessed_at"]
            sharing = self._store.sharings.get(("dashboard", str(dashboard.id)))
            row["created_at"] = time_text(dashboard.created_at)
            row["created_by"] = self._store.user_id(dashboard.created_by)
            row["is_shared"] = bool(sharing and sharing.enabled)
            row["access_control_version"] = {21: "v2", 37: "v1"}[dashboard.restriction_level]
            yield row | {"team_id": self._project}

    def dashboard_collaborators(self) -> Iterator[Row]:
        """Active users, of dashboards that were not deleted."""
        living = {each.id for each in self.living()}
        found = self._store.collaborators.values()
        for each in sorted(found, key=lambda each: (each.dashboard_id, each.id)):
            if each.dashboard_id in living and each.is_active and each.user in self._store.users:
                row = asdict(each) | {
                    "added_at": time_text(each.added_at),
                    "updated_at": time_text(each.updated_at),
                }
                del row["is_active"]
                yield row

    def living(self) -> list[Dashboard]:
        """Those that were not deleted, by id."""
        found = self._store.dashboards
        return [found[key] for key in sorted(found) if not found[key].deleted]

    def named_users(self) -> set[int | None]:
        """The users whom they name."""
        made = {row["created_by"] for row in self.dashboards()}
        return made | {row["user"] for row in self.dashboard_collaborators()}
