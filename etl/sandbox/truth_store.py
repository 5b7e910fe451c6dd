"""What a perfect reader would have now of what people made: straight from the store.

It shares nothing with the code that answers requests. One function for each destination table,
named by it. Left out are columns that move by themselves (summary, next_delivery_date,
last_used_at, last_login, recordings_counts, last_refresh, refreshing, updated_at of insights,
last_viewed_at, notebook, unread, last_accessed_at, last_seen_at, last_updated_at, the calculation
of actions, and what the key's owner may do with a dashboard). Null is what the server in force does
not send:

- docs flavour: `users.role_at_organization`; everything of a subscription from `content_type` on,
  `insight_short_id` and `resource_name`; `is_synthetic` and `user_access_level` of a playlist;
  `user_access_level` of a sharing configuration; users that only a secret key names (no row).
- docs flavour: descriptions and the like of definitions, which are of a paid plan.
- docs flavour, page A (also within `mixed`): `settings`, `password_required` and all passwords.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store
from etl.sandbox.truth_dashboards import DashboardTruth
from etl.sandbox.truth_definitions import DefinitionTruth
from etl.sandbox.truth_groups import GroupTruth, sha256_text, with_times
from etl.sandbox.truth_organization import OrganizationTruth
from etl.sandbox.truth_product import PRODUCT_TABLES, ProductTruth
from etl.sandbox.truth_sharing import SharingTruth

STORE_TABLES = (
    "subscriptions", "users", "group_types", "groups", "group_property_definitions",
    "group_property_values", "group_activity", "cohorts", "insights", "session_recording_playlists",
    "session_recording_playlist_items", "project_secret_api_keys",
    "dashboards", "dashboard_collaborators", "event_definitions", "property_definitions",
    "session_property_definitions", "session_property_values", "sharing_configurations",
    "share_passwords", "projects", "organization_members", "activity_log",
    "subscription_deliveries", *PRODUCT_TABLES,
)  # fmt: skip
Row = dict[str, Any]

_UNDOCUMENTED = (
    "content_type", "dashboard_export_insights", "prompt", "ai_config", "enabled",
    "integration_id", "summary_enabled", "summary_prompt_guide", "insight_short_id",
    "resource_name",
)  # fmt: skip

_CALCULATED = ("errors_calculating", "last_error_message", "persons")


class StoreTruth:
    """The truth about the records of one project."""

    def __init__(
        self,
        store: Store,
        project: int,
        options: SandboxOptions,
        recording_ids: Callable[[], Iterable[str]],
    ) -> None:
        """`project` is its id. `recording_ids` names the recordings that can be seen, in order."""
        self._store = store
        self._cloud = options.flavour == "cloud"
        self._recording_ids = recording_ids
        self._groups = GroupTruth(store)
        self._dashboards = DashboardTruth(store, project)
        self._definitions = DefinitionTruth(store, paid=self._cloud)
        self._product = ProductTruth(store, options, project)
        self._sharing = SharingTruth(store, options, recording_ids)
        self._organization = OrganizationTruth(store, options)

    def rows(self, table: str) -> Iterator[Row]:
        """All rows of a table in the order of their key."""
        for part in (
            self,
            self._groups,
            self._dashboards,
            self._definitions,
            self._product,
            self._sharing,
            self._organization,
        ):
            if found := getattr(part, table, None):
                yield from found()
                return

    def subscriptions(self) -> Iterator[Row]:
        """Live and deleted ones; of a webhook's address only the hash."""
        for key in sorted(self._store.subscriptions):
            row = with_times(asdict(self._store.subscriptions[key]))
            row["created_by"] = self._known(row["created_by"])
            row["invite_message"] = None
            if row["target_type"] == "webhook" and row["target_value"]:
                row["target_value"] = "sha256:" + sha256_text(row["target_value"])
            insight = self._store.insights.get(row["insight"])
            row["insight_short_id"] = insight.short_id if insight else None
            dashboard = self._store.dashboards.get(row["dashboard"])
            sent = insight or dashboard
            row["resource_name"] = sent.name if sent else None
            if not self._cloud:
                row.update(dict.fromkeys(_UNDOCUMENTED))
            yield row

    def users(self) -> Iterator[Row]:
        """Every user whom something else names."""
        store = self._store
        named = {each.created_by for each in store.subscriptions.values()}
        named |= self._product.named_users()
        named |= {each["created_by"] for each in self._cohorts()}
        for made in (*self._insights(), *self._playlists()):
            named |= {made["created_by"], made["last_modified_by"]}
        named |= self._dashboards.named_users() | self._definitions.named_users()
        if self._cloud:
            named |= {each.created_by for each in store.secret_keys.values()}
        named |= self._organization.named_users()
        for key in sorted(each for each in named if each in store.users):
            row = asdict(store.users[key])
            if not self._cloud:
                row["role_at_organization"] = None
            yield row

    def cohorts(self) -> Iterator[Row]:
        """Those that were not deleted, without what is compiled or calculated."""
        yield from self._cohorts()

    def insights(self) -> Iterator[Row]:
        """Those that were not deleted."""
        yield from self._insights()

    def session_recording_playlists(self) -> Iterator[Row]:
        """Those that were not deleted."""
        yield from self._playlists()

    def session_recording_playlist_items(self) -> Iterator[Row]:
        """Recordings that can be seen, in collections that were not deleted."""
        visible = set(self._recording_ids())
        playlists = {row["short_id"] for row in self._playlists() if row["type"] != "filters"}
        for short_id, recording_id in sorted(self._store.playlist_items):
            if short_id in playlists and recording_id in visible:
                yield {"short_id": short_id, "recording_id": recording_id}

    def project_secret_api_keys(self) -> Iterator[Row]:
        """Without what makes them secret."""
        for key in sorted(self._store.secret_keys):
            row = with_times(asdict(self._store.secret_keys[key]))
            del row["last_used_at"]
            yield row | {"created_by": self._known(row["created_by"])}

    def _insights(self) -> list[Row]:
        rows = []
        for key in sorted(self._store.insights):
            row = self._made(asdict(self._store.insights[key]))
            row["user_access_level"] = "editor"
            row["dashboard_tiles"] = [
                {"id": 10 * key + nth, "dashboard_id": dashboard, "deleted": None}
                for nth, dashboard in enumerate(row["dashboards"])
            ]
            if not row["deleted"]:
                rows.append(row)
        return rows

    def _cohorts(self) -> list[Row]:
        rows = []
        for key in sorted(self._store.cohorts):
            row = with_times(asdict(self._store.cohorts[key]))
            row["created_by"] = self._known(row["created_by"])
            row["condition_type"] = row["condition_type"] if self._cloud else None
            for name in _CALCULATED:
                del row[name]
            if not row["deleted"]:
                rows.append(row)
        return rows

    def _playlists(self) -> list[Row]:
        rows = []
        for key in sorted(self._store.playlists):
            row = self._made(asdict(self._store.playlists[key]))
            row["user_access_level"] = "editor" if self._cloud else None
            row["is_synthetic"] = row["is_synthetic"] if self._cloud else None
            if not row["deleted"]:
                rows.append(row)
        return rows

    def _made(self, row: Row) -> Row:
        users = {name: self._known(row[name]) for name in ("created_by", "last_modified_by")}
        return with_times(row) | users

    def _known(self, user: int | None) -> int | None:
        return user if user in self._store.users else None
