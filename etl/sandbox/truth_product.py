"""What a perfect reader would have now of what product teams made: straight from the store.

It shares nothing with the code that answers requests. Left out are columns that move by themselves.
Null is what the server in force does not send; the documented flavour is an older server:

- of annotations everything about dashboards, `emoji`, `hidden_in_user_interface` and `tags`;
- of actions `is_action` and `pinned_at`;
- of flags, surveys and experiments what `_NEWER_…` names below.

The newer server lists experiments without their metrics, so these are null with it.

Records that a user deleted are rows where the server finds them by their id: a reader that stored
them before sees that they are deleted. None is deleted at first.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store
from etl.sandbox.truth_groups import with_times

PRODUCT_TABLES = (
    "annotations", "actions", "feature_flags", "surveys", "experiments", "comments",
)  # fmt: skip
Row = dict[str, Any]

_NEWER_OF_FLAGS = (
    "archived", "updated_at", "evaluation_contexts", "evaluation_runtime", "bucketing_identifier",
)  # fmt: skip
_NEWER_OF_SURVEYS = ("enable_iframe_embedding", "translations", "form_content")
_NEWER_OF_EXPERIMENTS = (
    "running_time_calculation", "excluded_variants", "scheduling_config",
    "only_count_matured_users", "is_legacy",
)  # fmt: skip
_METRICS = (
    "metrics", "metrics_secondary", "secondary_metrics", "saved_metrics", "saved_metrics_ids",
    "primary_metrics_ordered_uuids", "secondary_metrics_ordered_uuids",
)  # fmt: skip


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

    def feature_flags(self) -> Iterator[Row]:
        """All of them, also archived and deleted ones; without payloads that are encrypted."""
        experiments = self._store.experiments.values()
        for key in sorted(self._store.feature_flags):
            row = self._plain(self._store.feature_flags[key])
            del row["last_called_at"]
            if row["has_encrypted_payloads"]:
                row["filters"] = {k: v for k, v in row["filters"].items() if k != "payloads"}
            row["experiment_set"] = [
                each.id for each in experiments if each.feature_flag == key and not each.deleted
            ]
            yield self._sent(row, *_NEWER_OF_FLAGS)

    def surveys(self) -> Iterator[Row]:
        """All of them, with ids in the place of flags and actions."""
        for key in sorted(self._store.surveys):
            row = self._plain(self._store.surveys[key])
            flags = {
                name: self._store.feature_flags.get(row.pop(name))
                for name in ("linked_flag", "targeting_flag", "internal_targeting_flag")
            }
            row["feature_flag_keys"] = [
                {"key": f"{name}_key", "value": flag.key if flag else None}
                for name, flag in flags.items()
            ]
            for name, flag in flags.items():
                row["linked_flag_id" if name == "linked_flag" else name] = flag and flag.id
            if actions := [each for each in row.pop("actions") if each in self._store.actions]:
                row["conditions"] = {**(row["conditions"] or {}), "actions": {"values": actions}}
            yield self._sent(row, *_NEWER_OF_SURVEYS)

    def experiments(self) -> Iterator[Row]:
        """Those that were not deleted."""
        for key in sorted(self._store.experiments):
            row = self._plain(self._store.experiments[key])
            if row["deleted"]:
                continue
            flag = self._store.feature_flags.get(row["feature_flag"])
            row |= {
                "feature_flag": flag and flag.id,
                "feature_flag_key": flag and flag.key,
                "holdout_id": row.pop("holdout"),
                "parameters": row["parameters"] or {},
                "is_legacy": False,
            }
            if self._cloud:
                row |= dict.fromkeys(_METRICS)
            yield self._sent(row, *_NEWER_OF_EXPERIMENTS)

    def comments(self) -> Iterator[Row]:
        """All of them, also deleted ones."""
        for key in sorted(self._store.comments):
            yield self._plain(self._store.comments[key])

    def _sent(self, row: Row, *newer: str) -> Row:
        """The row as the server sends it: an older one leaves out the newer fields."""
        return row if self._cloud else row | dict.fromkeys(newer)

    def _plain(self, record: Any) -> Row:
        """Instants as the server writes them, and only users who still exist."""
        row = with_times(asdict(record))
        for name in ("created_by", "last_modified_by"):
            if row.get(name) not in self._store.users:
                row |= {name: None} if name in row else {}
        return row
