"""The truth about the project itself, the members of its organization, and its logs.

Null is what the server in force does not send: docs flavour, of a project, what is from
`ingested_event` on.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from etl.sandbox.kinds_organization import Delivery
from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store
from etl.sandbox.truth_groups import sha256_text, with_times

Row = dict[str, Any]

_NEWER_OF_PROJECTS = (
    "ingested_event", "completed_snippet_onboarding", "has_completed_onboarding_for",
    "access_control",
)  # fmt: skip


class OrganizationTruth:
    """What a perfect reader has of these tables, one function for each."""

    def __init__(self, store: Store, options: SandboxOptions) -> None:
        """Reads only the store."""
        self._store = store
        self._cloud = options.flavour == "cloud"

    def named_users(self) -> set[int | None]:
        """The users whom a row of these tables names."""
        return {
            each.user
            for records in (self._store.members, self._store.log_entries)
            for each in records.values()
        }

    def projects(self) -> Iterator[Row]:
        """The project itself, as long as it is listed."""
        for key in sorted(self._store.projects):
            row = asdict(self._store.projects[key])
            yield row if self._cloud else row | dict.fromkeys(_NEWER_OF_PROJECTS)

    def organization_members(self) -> Iterator[Row]:
        """Members whose user still exists."""
        organizations = {each.organization for each in self._store.projects.values()}
        for organization in organizations:
            for key in sorted(self._store.members):
                row = asdict(self._store.members[key])
                del row["last_login"]
                if row["user"] in self._store.users:
                    yield with_times({"organization": organization, **row})

    def activity_log(self) -> Iterator[Row]:
        """Every entry; of text that users typed only hash and length, but for names."""
        project = next(iter(self._store.projects.values()), None)
        for key in sorted(self._store.log_entries):
            row = asdict(self._store.log_entries[key])
            del row["unread"]
            row["detail"] = None if row["detail"] is None else _veiled(row["detail"], _DETAIL)
            row["user"] = row["user"] if row["user"] in self._store.users else None
            row["organization_id"] = None if project is None else project.organization
            yield with_times(row)

    def subscription_deliveries(self) -> Iterator[Row]:
        """Those of subscriptions that are there, without what was sent and to whom."""
        for delivery in sorted(
            self._store.deliveries.values(), key=lambda each: (each.subscription, each.id)
        ):
            row = asdict(delivery)
            for name in ("target_value", "content_snapshot", "recipient_results"):
                del row[name]
            if row["error"] is not None:
                row["error"] = _veiled(_without_address(delivery), {"type", "code"})
            row["temporal_workflow_id"] = f"deliver-{delivery.id}"
            row["idempotency_key"] = f"key-{delivery.id}"
            if delivery.subscription in self._store.subscriptions:
                yield with_times(row)


_DETAIL = {"name", "short_id", "type", "changes.type", "changes.action", "changes.field"}


def _without_address(delivery: Delivery) -> Any:
    """The error without an address; the name of a channel is none."""
    text, address = json.dumps(delivery.error), delivery.target_value
    if len(address) >= 16 and ("/" in address or "@" in address):
        text = text.replace(address, "***")
    return json.loads(text)


def _veiled(value: Any, plain: set[str], path: str = "") -> Any:
    """Hash and length of each text whose path is not in `plain`."""
    if isinstance(value, dict):
        inside = f"{path}." if path else ""
        return {name: _veiled(each, plain, inside + name) for name, each in value.items()}
    if isinstance(value, list):
        return [_veiled(each, plain, path) for each in value]
    if not isinstance(value, str) or not value or path in plain:
        return value
    return f"sha256:{sha256_text(value)}:{len(value)}"
