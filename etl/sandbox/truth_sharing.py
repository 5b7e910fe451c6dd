"""What a perfect reader would have now of sharing: a row for all that could be shared."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store
from etl.sandbox.truth_groups import sha256_text, time_text

Row = dict[str, Any]


class SharingTruth:
    """The truth about who may see what by a link in one project."""

    def __init__(
        self,
        store: Store,
        options: SandboxOptions,
        recording_ids: Callable[[], Iterable[str]],
    ) -> None:
        """`recording_ids` names the recordings that can be seen, in order."""
        self._store = store
        self._options = options
        self._recording_ids = recording_ids

    def sharing_configurations(self) -> Iterator[Row]:
        """Every dashboard, insight and recording that can be seen, shared or not."""
        for resource_type, resource_id in self._resources():
            found = self._store.sharings.get((resource_type, resource_id))
            tells_all = self._tells_all(resource_id)
            saved = found is not None and found.created_at is not None
            yield {
                "resource_type": resource_type,
                "resource_id": resource_id,
                "enabled": found is not None and found.enabled,
                "created_at": time_text(found.created_at) if found else None,
                "access_token_sha256": sha256_text(found.access_token) if found and saved else None,
                "settings": found.settings if found and tells_all else None,
                "password_required": (found is not None and found.password_required)
                if tells_all
                else None,
                "user_access_level": "editor" if self._options.flavour == "cloud" else None,
            }

    def share_passwords(self) -> Iterator[Row]:
        """The active passwords of all these."""
        by_resource: dict[tuple[str, str], list[Row]] = {}
        for each in self._store.share_passwords.values():
            maker = self._store.users.get(each.created_by) if each.created_by else None
            row = {
                "resource_type": each.resource_type,
                "resource_id": each.resource_id,
                "id": str(each.id),
                "created_at": time_text(each.created_at),
                "note": each.note,
                "created_by_email": maker.email if maker else "deleted user",
                "is_active": True,
            }
            if each.is_active:
                by_resource.setdefault((each.resource_type, each.resource_id), []).append(row)
        for resource in self._resources():
            if resource in by_resource and self._tells_all(resource[1]):
                yield from sorted(by_resource[resource], key=lambda row: str(row["id"]))

    def _resources(self) -> Iterator[tuple[str, str]]:
        dashboards = [each for each in self._store.dashboards.values() if not each.deleted]
        yield from sorted(("dashboard", str(each.id)) for each in dashboards)
        insights = [each for each in self._store.insights.values() if not each.deleted]
        yield from sorted(("insight", str(each.id)) for each in insights)
        yield from (("recording", each) for each in self._recording_ids())

    def _tells_all(self, resource_id: str) -> bool:
        """Whether the page in force has six fields, and not three."""
        if self._options.flavour == "cloud":
            return True
        version = self._options.page_version
        if version == "mixed":
            version = ("A", "C", "D")[sum(resource_id.encode()) % 3]
        return version != "A"
