"""The truth about the project itself, the members of its organization, and its logs.

Null is what the server in force does not send: docs flavour, of a project, what is from
`ingested_event` on.
"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store
from etl.sandbox.truth_groups import time_text

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
        return {each.user for each in self._store.members.values()}

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
                    yield _plain({"organization": organization, **row})


def _plain(row: Row) -> Row:
    return {k: time_text(v) if isinstance(v, datetime) else v for k, v in row.items()}
