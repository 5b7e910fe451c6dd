"""A simple reader of all of a project's data, as a destination stores it; for sandbox tests."""

import hashlib
import json
from typing import Any

import orjson
from yarl import URL

from etl.streams import TABLE_SPECS
from tests.unit.sandbox.reader import Reader, Row
from tests.unit.sandbox.whole_product import product_tables

ROOT = "/api/projects/1"
_USERS = ("created_by", "last_modified_by", "user", "owner", "updated_by", "verified_by")
# By table.
VOLATILE = {
    name: {field.name for field in spec.fields if field.volatile}
    for name, spec in TABLE_SPECS.items()
}


def plain(value: Any) -> Any:
    """A cohort's filters without compiled code."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        compiled = ("bytecode", "bytecode_error", "conditionHash")
        return {name: plain(each) for name, each in value.items() if name not in compiled}
    return value


def sha256(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def as_text(value: Any) -> str:
    """Text unchanged, anything else as compact JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


DETAIL = {"name", "short_id", "type", "changes.type", "changes.action", "changes.field"}


def veiled(value: Any, plain: set[str], path: str = "") -> Any:
    """Hash and length instead of each text but those at the paths in `plain`."""
    if isinstance(value, dict):
        return {k: veiled(v, plain, f"{path}.{k}".strip(".")) for k, v in value.items()}
    if isinstance(value, list):
        return [veiled(each, plain, path) for each in value]
    if isinstance(value, str) and value and path not in plain:
        return f"sha256:{sha256(value)}:{len(value)}"
    return value


class Whole:
    """Walks all lists and collects rows by table."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.users: dict[int, Row] = {}

    async def walk(self, path: str, **query: Any) -> list[Row]:
        """Every row of a list, by following `next` or the recordings' cursor."""
        return await self.walk_from(f"{ROOT}/{path}", **query)

    async def walk_from(self, url: str, **query: Any) -> list[Row]:
        """Every row of the list at this address."""
        rows: list[Row] = []
        while True:
            page = await self.one(url, **query)
            if isinstance(page, list):
                return page
            rows += page["results"]
            if page.get("has_next"):
                query["after"] = page["next_cursor"]
            elif page.get("next"):
                url, query = page["next"], {}
            else:
                return rows

    async def one(self, url: str, **query: Any) -> Any:
        """One answer."""
        asked = {name: str(value) for name, value in query.items()}
        status, body, _ = await self.reader.get(str(URL(url).update_query(asked)))
        assert status == 200, (url, body)
        return body

    async def tables(self) -> dict[str, list[Row]]:
        """All rows by table, in any order."""
        found: dict[str, list[Row]] = {}
        found["subscriptions"] = await self._subscriptions()
        found["insights"] = [self._named(row) for row in await self.walk("insights/", basic="true")]
        found["cohorts"] = [self._cohort(row) for row in await self.walk("cohorts/", limit=2)]
        lists = await self.walk("session_recording_playlists/", limit=3)
        found |= await self._dashboards() | await self._definitions()
        found["session_recording_playlists"] = [self._named(row) for row in lists]
        found["session_recording_playlist_items"] = [
            {"short_id": each["short_id"], "recording_id": row["id"]}
            for each in lists if each["type"] != "filters"
            for row in await self.walk(
                f"session_recording_playlists/{each['short_id']}/recordings/", limit=4
            )
        ]  # fmt: skip
        found["project_secret_api_keys"] = [
            {k: v for k, v in self._named(row).items() if k != "value"}
            for row in await self.walk("project_secret_api_keys/", limit=2)
        ]
        found |= await self._groups()
        found |= await self._sessions()
        found |= await self._sharing(found["insights"], found["dashboards"])
        found |= {
            table: [self._named(row) for row in rows]
            for table, rows in (await product_tables(self.walk)).items()
        }
        found |= await self._organization()
        found["users"] = list(self.users.values())
        return found

    async def _subscriptions(self) -> list[Row]:
        rows = {}
        for query in ({}, {"deleted": "true"}):
            for row in await self.walk("subscriptions/", limit=5, **query):
                if row["target_type"] == "webhook":
                    row["target_value"] = "sha256:" + sha256(row["target_value"])
                rows[row["id"]] = self._named(row)
        return list(rows.values())

    def _named(self, row: Row) -> Row:
        """The row with ids in place of users."""
        for name in _USERS:
            user = row.get(name)
            if isinstance(user, dict):
                assert self.users.setdefault(user["id"], user) == user
                row[name] = user["id"]
        return row

    async def _dashboards(self) -> dict[str, list[Row]]:
        listed = await self.walk("dashboards/", limit=4)
        listed += await self.walk("dashboards/", creation_mode="unlisted")
        collaborators = [
            self._named(row)
            for each in listed
            for row in await self.walk(f"dashboards/{each['id']}/collaborators/")
        ]
        return {
            "dashboards": [self._named(row) for row in listed],
            "dashboard_collaborators": collaborators,
        }

    async def _definitions(self) -> dict[str, list[Row]]:
        events = await self.walk("event_definitions/", limit=4, ordering="name")
        for row in events:
            row.pop("media_preview_urls", None)
        queries: list[Row] = [{"type": each} for each in ("event", "person", "session")]
        queries += [{"type": "group", "group_type_index": index} for index in range(5)]
        properties = [
            {"group_type_index": -1, **query, **self._named(row)}
            for query in queries
            for row in await self.walk("property_definitions/", limit=2, **query)
        ]
        return {
            "event_definitions": [self._named(row) for row in events],
            "property_definitions": properties,
        }

    def _cohort(self, row: Row) -> Row:
        """The row without compiled code."""
        return {**self._named(row), "filters": plain(row["filters"])}

    async def _groups(self) -> dict[str, list[Row]]:
        types = await self.walk("groups_types/")
        groups, activity, values = [], [], []
        for each in types:
            of_type = {"group_type_index": each["group_type_index"]}
            groups += await self.walk("groups/", **of_type)
        for row in groups:
            of_group = {name: row[name] for name in ("group_type_index", "group_key")}
            for entry in await self.walk("groups/activity/", limit=2, **of_group):
                about = [entry[n] for n in ("created_at", "activity", "scope", "item_id", "detail")]
                hashed = "sha256:" + sha256(orjson.dumps(about).decode())
                activity.append({**of_group, **entry, "entry": hashed})
        body = await self.one(f"{ROOT}/groups/property_definitions/")
        definitions = [
            {"group_type_index": int(index), **row} for index, rows in body.items() for row in rows
        ]
        for each in definitions:
            of_key = {"group_type_index": each["group_type_index"], "key": each["name"]}
            for row in await self.walk("groups/property_values/", **of_key):
                values.append({**of_key, "value": as_text(row["name"]), "count": row["count"]})
        return {
            "group_types": types,
            "groups": groups,
            "group_activity": activity,
            "group_property_definitions": definitions,
            "group_property_values": values,
        }

    async def _sessions(self) -> dict[str, list[Row]]:
        definitions = await self.walk("sessions/property_definitions/")
        values = [
            {"key": each["name"], "value": as_text(row["name"])}
            for each in definitions
            for row in await self.walk("sessions/values/", key=each["name"])
        ]
        return {"session_property_definitions": definitions, "session_property_values": values}

    async def _organization(self) -> dict[str, list[Row]]:
        listed = await self.one("/api/projects/")
        (project,) = (row for row in listed["results"] if row["id"] == 1)
        tokens = ("api_token", "project_id")
        members = await self.walk_from(f"/api/organizations/{project['organization']}/members/")
        subscriptions = {
            row["id"]: row
            for query in ({}, {"deleted": "true"})
            for row in await self.walk("subscriptions/", **query)
        }
        return {
            "activity_log": [
                self._named({**row, "detail": veiled(row["detail"], DETAIL)})
                for row in await self.walk("activity_log/")
            ],
            "subscription_deliveries": [
                self._delivery(row)
                for each in subscriptions
                for row in await self.walk(f"subscriptions/{each}/deliveries/")
            ],
            "projects": [{k: v for k, v in project.items() if k not in tokens}],
            "organization_members": [
                self._named({"organization": project["organization"], **row}) for row in members
            ],
        }

    def _delivery(self, row: Row) -> Row:
        """The row without what was sent and to whom."""
        text, address = orjson.dumps(row["error"]).decode(), row["target_value"]
        if len(address) >= 16 and ("/" in address or "@" in address):
            text = text.replace(address, "***")
        dropped = {"target_value", "content_snapshot", "recipient_results", "change_summary"}
        kept = {name: value for name, value in row.items() if name not in dropped}
        return {**kept, "error": veiled(orjson.loads(text), {"type", "code"})}

    async def _sharing(self, insights: list[Row], dashboards: list[Row]) -> dict[str, list[Row]]:
        truth = self.reader.sandbox.control.truth()
        resources = [("insight", "insights", str(row["id"])) for row in insights]
        resources += [("dashboard", "dashboards", str(row["id"])) for row in dashboards]
        resources += [
            ("recording", "session_recordings", row["id"]) for row in truth["session_recordings"]
        ]
        configurations, passwords = [], []
        for kind, path, each in resources:
            key = {"resource_type": kind, "resource_id": each}
            row = await self.one(f"{ROOT}/{path}/{each}/sharing/")
            token = row.pop("access_token")
            row["access_token_sha256"] = sha256(token) if row["created_at"] else None
            listed = row.pop("share_passwords", [])
            for one in json.loads(listed) if isinstance(listed, str) else listed:
                passwords.append({**key, **one, "id": str(one["id"])})
            configurations.append({**key, **row})
        return {"sharing_configurations": configurations, "share_passwords": passwords}


def settled(row: Row, table: str) -> Row:
    """A row without fields that change by themselves, and without nulls."""
    return {k: v for k, v in row.items() if k not in VOLATILE[table] and v is not None}


def sorted_rows(rows: list[Row], table: str) -> list[str]:
    """Rows as sorted text, so that they compare in any order."""
    return sorted(
        orjson.dumps(settled(row, table), option=orjson.OPT_SORT_KEYS).decode() for row in rows
    )
