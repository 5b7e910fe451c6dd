"""The views that ship with the migrations answer what a user would ask first."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.migrate import migrate
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
VIEWS = {
    "publicly_shared_now",
    "subscription_schedule",
    "recording_overview",
    "dashboard_insights",
    "stale_flags",
    "who_did_what",
    "people_overview",
}
ADA = "00000000-0000-4000-8000-000000000001"
ODD_NAME = """it's :odd "eu" {data} %s $1"""


class Deployment:
    """One deployment's schemas, to put rows in and read views from."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], tables: Tables) -> None:
        self._connection = connection
        self._tables = tables

    async def put(self, table: str, **values: Any) -> None:
        """Insert a row of project 1, unless told otherwise."""
        row = {"project_id": 1, **values}
        if table == "checks":
            schema = self._tables.bookkeeping
        else:
            schema = self._tables.schema
            times = ("_observed_at", "_first_seen_at", "_updated_at")
            row = {**dict.fromkeys(times, NOON), "_xid": 1, **row}
        names = ", ".join(map(quoted, row))
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self._connection.execute(
            f"INSERT INTO {quoted(schema)}.{table} ({names}) VALUES ({places})", *row.values()
        )

    async def view(self, name: str, order: str) -> list[dict[str, Any]]:
        """What a view answers, without nulls."""
        found = await self._connection.fetch(
            f"SELECT * FROM {quoted(self._tables.schema)}.{name} ORDER BY {order}"
        )
        return [{k: v for k, v in row.items() if v is not None} for row in found]


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a migrated database."""
    connection = await asyncpg.connect(dsn)
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    yield connection
    await connection.close()


@pytest_asyncio.fixture(params=["posthog", ODD_NAME], ids=["usual", "odd"])
async def deployment(
    request: pytest.FixtureRequest, dsn: str, connection: asyncpg.Connection[asyncpg.Record]
) -> Deployment:
    """The usual one, or a second one in the same database under a name that needs quotes."""
    tables = Tables(request.param)
    database = Database(parse_database_url(dsn), Timeouts())
    await migrate(database, tables)
    await database.close()
    return Deployment(connection, tables)


async def share(deployment: Deployment, kind: str, resource_id: str, **values: Any) -> None:
    """Put a sharing configuration."""
    given = {"resource_type": kind, "resource_id": resource_id, "created_at": NOON}
    await deployment.put("sharing_configurations", **{**given, "enabled": True, **values})


async def test_what_anyone_can_open_now_is_listed_with_its_name(deployment: Deployment) -> None:
    """Whatever is shared, by whom, since when, and when that was last asked."""
    await deployment.put("users", id=7, email="ada@example.com")
    await deployment.put("insights", id=14, name="Revenue", derived_name="x", created_by=7)
    await deployment.put("insights", id=15, name="", derived_name="Pageviews")
    await deployment.put("persons", uuid=ADA, name="Ada")
    await deployment.put("session_recordings", id="r1", distinct_id="d1", person_uuid=ADA)
    await deployment.put("session_recordings", id="r2", distinct_id="d2")
    await deployment.put("dashboards", id=14, name="Board", created_by=7)
    await share(deployment, "insight", "14", password_required=True)
    for number, more in enumerate(({}, {"is_active": False}, {"_deleted_at": NOON}, {})):
        await deployment.put(
            "share_passwords",
            resource_type="insight",
            resource_id="14",
            id=str(number),
            **{"is_active": True, **more},
        )
    await share(deployment, "insight", "15")
    await share(deployment, "dashboard", "14")
    await share(deployment, "recording", "r1")
    await share(deployment, "recording", "r2")
    for stream, key in (("insight_sharing", "14"), ("recording_sharing", "r1")):
        await deployment.put("checks", stream=stream, record_key=key, checked_at=NOON)
    every = {"project_id": 1, "shared_since": NOON, "password_protected": False, "passwords": 0}
    assert await deployment.view("publicly_shared_now", "resource_type, resource_id") == [
        every | row
        for row in (
            {
                "resource_type": "dashboard",
                "resource_id": "14",
                "name": "Board",
                "created_by_email": "ada@example.com",
            },
            {
                "resource_type": "insight",
                "resource_id": "14",
                "name": "Revenue",
                "password_protected": True,
                "passwords": 2,
                "created_by_email": "ada@example.com",
                "checked_at": NOON,
            },
            {"resource_type": "insight", "resource_id": "15", "name": "Pageviews"},
            {
                "resource_type": "recording",
                "resource_id": "r1",
                "name": "Ada",
                "checked_at": NOON,
            },
            {"resource_type": "recording", "resource_id": "r2", "name": "d2"},
        )
    ]


async def test_what_cannot_be_opened_is_not_listed(deployment: Deployment) -> None:
    """Not enabled, or the configuration or what it is about is gone. Another project's is its."""
    for number, gone in enumerate(({"_deleted_at": NOON}, {"deleted": True})):
        await deployment.put("insights", id=number, name="gone", **gone)
        await share(deployment, "insight", str(number))
        await deployment.put("dashboards", id=number, name="gone", **gone)
        await share(deployment, "dashboard", str(number))
    for name in ("_deleted_at", "_expired_at"):
        await deployment.put("session_recordings", id=name, **{name: NOON})
        await share(deployment, "recording", name)
    await share(deployment, "insight", "8", enabled=False)
    await share(deployment, "insight", "9", enabled=None)
    await share(deployment, "insight", "10", _deleted_at=NOON)
    assert await deployment.view("publicly_shared_now", "resource_id") == []
    # What is shared and nothing else is known of is still open to everyone.
    await share(deployment, "insight", "99999999999999999999")
    await share(deployment, "recording", "14")
    await deployment.put("insights", id=14, name="another kind, the same id")
    await deployment.put("session_recordings", id="14", project_id=2, distinct_id="another project")
    listed = await deployment.view("publicly_shared_now", "resource_id")
    assert [row["resource_id"] for row in listed] == ["14", "99999999999999999999"]
    assert [row.get("name") for row in listed] == [None, None]


DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
SCHEDULES: list[tuple[Mapping[str, Any], str | None]] = [
    ({"frequency": "daily", "interval": 1}, "every day"),
    ({"frequency": "daily", "interval": None}, "every day"),
    ({"frequency": "daily", "interval": 3, "byweekday": []}, "every 3 days"),
    ({"frequency": "weekly", "interval": 1, "byweekday": DAYS[:1]}, "every week on Monday"),
    (
        {"frequency": "weekly", "interval": 2, "byweekday": DAYS[:2]},
        "every 2 weeks on Monday and Tuesday",
    ),
    (
        {"frequency": "weekly", "interval": 1, "byweekday": DAYS[:3]},
        "every week on Monday, Tuesday and Wednesday",
    ),
    ({"frequency": "weekly", "interval": 1, "byweekday": DAYS}, "every week on every day"),
    (
        {"frequency": "monthly", "interval": 1, "byweekday": DAYS[:1], "bysetpos": 1},
        "every month on the first Monday",
    ),
    (
        {"frequency": "monthly", "interval": 2, "byweekday": DAYS[:1], "bysetpos": -1},
        "every 2 months on the last Monday",
    ),
    (
        {"frequency": "monthly", "interval": 1, "byweekday": DAYS, "bysetpos": 4},
        "every month on the fourth day",
    ),
    (
        {"frequency": "monthly", "interval": 1, "byweekday": DAYS[:2], "bysetpos": 10},
        "every month on the 10th Monday or Tuesday",
    ),
    ({"frequency": "monthly", "interval": 1, "bysetpos": 1}, "every month"),
    ({"frequency": "yearly", "interval": 1}, "every year"),
    ({"frequency": "hourly", "interval": 1}, "hourly"),
    ({"frequency": "hourly", "interval": 4}, "hourly, every 4"),
    ({"frequency": None, "interval": 1}, None),
]


async def test_how_often_something_is_sent_is_said_in_words(deployment: Deployment) -> None:
    """From frequency, interval, days of the week and which of them."""
    for number, (values, _) in enumerate(SCHEDULES):
        await deployment.put("subscriptions", id=number, **values)
    listed = await deployment.view("subscription_schedule", "id")
    assert [row.get("schedule") for row in listed] == [words for _, words in SCHEDULES]


async def test_a_schedule_says_what_goes_to_whom_and_when(deployment: Deployment) -> None:
    """With the name of the insight where the server does not say it itself."""
    sent = {
        "target_type": "email",
        "target_value": "a@example.com",
        "frequency": "daily",
        "next_delivery_date": NOON,
    }
    await deployment.put("users", id=7, email="ada@example.com")
    await deployment.put("insights", id=14, name="", derived_name="Pageviews")
    await deployment.put("subscriptions", id=1, insight=14, title="T", created_by=7, **sent)
    await deployment.put("subscriptions", id=2, insight=14, resource_name="Named", **sent)
    await deployment.put("subscriptions", id=3, dashboard=5, enabled=True, **sent)
    await deployment.put("subscriptions", id=7, dashboard=6, enabled=True, **sent)
    await deployment.put("dashboards", id=6, name="Board")
    await deployment.put("subscriptions", id=4, enabled=False, **sent)
    await deployment.put("subscriptions", id=5, deleted=True, **sent)
    await deployment.put("subscriptions", id=6, _deleted_at=NOON, **sent)
    every = {
        "project_id": 1,
        "target_type": "email",
        "target_value": "a@example.com",
        "schedule": "every day",
        "next_delivery_date": NOON,
    }
    insight = {"resource_type": "insight", "resource_id": 14}
    assert await deployment.view("subscription_schedule", "id") == [
        every | row
        for row in (
            {
                **insight,
                "id": 1,
                "title": "T",
                "name": "Pageviews",
                "created_by_email": "ada@example.com",
            },
            {**insight, "id": 2, "name": "Named"},
            {"id": 3, "resource_type": "dashboard", "resource_id": 5},
            {"id": 7, "resource_type": "dashboard", "resource_id": 6, "name": "Board"},
        )
    ]


async def test_a_recording_is_one_row_with_its_person_and_where_it_shows_up(
    deployment: Deployment,
) -> None:
    """However many playlists it is in; what is gone is left out, and counts nowhere."""
    await deployment.put("persons", uuid=ADA, name="Ada", properties={"email": "ada@example.com"})
    await deployment.put(
        "session_recordings",
        id="r1",
        person_uuid=ADA,
        distinct_id="d1",
        start_time=NOON,
        recording_duration=61.5,
        click_count=3,
        start_url="https://example.com/",
    )
    await deployment.put("session_recordings", id="r2", email="old@example.com")
    await deployment.put("session_recordings", id="r3", _deleted_at=NOON)
    await deployment.put("session_recordings", id="r4", _expired_at=NOON)
    for short_id, values in {
        "p1": {},
        "p2": {"deleted": False},
        "p3": {"deleted": True},
        "p4": {"_deleted_at": NOON},
    }.items():
        await deployment.put("session_recording_playlists", short_id=short_id, **values)
        await deployment.put(
            "session_recording_playlist_items", short_id=short_id, recording_id="r1"
        )
    await deployment.put(
        "session_recording_playlist_items", short_id="p1", recording_id="r2", _deleted_at=NOON
    )
    await share(deployment, "recording", "r1", created_at=NOON - timedelta(days=1))
    await share(deployment, "insight", "r2")
    assert await deployment.view("recording_overview", "id") == [
        {
            "project_id": 1,
            "id": "r1",
            "start_time": NOON,
            "distinct_id": "d1",
            "person_name": "Ada",
            "person_email": "ada@example.com",
            "recording_duration": 61.5,
            "click_count": 3,
            "start_url": "https://example.com/",
            "playlists": 2,
            "shared": True,
        },
        {"project_id": 1, "id": "r2", "person_email": "old@example.com", "playlists": 0},
    ]
    await share(deployment, "recording", "r2", enabled=False)
    _, second = await deployment.view("recording_overview", "id")
    assert second["shared"] is False


async def test_an_insight_is_one_row_for_each_dashboard_that_it_is_on(
    deployment: Deployment,
) -> None:
    """By its tiles where the server shows them; what is gone is left out."""
    await deployment.put("dashboards", id=1, name="Board")
    await deployment.put("dashboards", id=2, name="")
    await deployment.put("dashboards", id=3, name="gone", _deleted_at=NOON)
    await deployment.put("dashboards", id=4, name="gone", deleted=True)
    await deployment.put("dashboards", id=1, name="another project", project_id=2)
    tiles = [
        {"id": 70, "dashboard_id": 1, "deleted": None},
        {"id": 71, "dashboard_id": 2, "deleted": True},
        {"id": 72, "dashboard_id": 3, "deleted": False},
        {"id": 73, "dashboard_id": 4, "deleted": False},
    ]
    on = {"dashboards": [1], "dashboard_tiles": tiles}
    await deployment.put("insights", id=14, short_id="a", name="Revenue", **on)
    await deployment.put("insights", id=15, name="", derived_name="Pageviews", dashboards=[9, 1])
    await deployment.put("insights", id=16, name="gone", _deleted_at=NOON, **on)
    await deployment.put("insights", id=17, name="gone", deleted=True, **on)
    await deployment.put("insights", id=18, name="on none", dashboards=[], dashboard_tiles=[])
    first = {
        "project_id": 1,
        "insight_id": 14,
        "insight_short_id": "a",
        "insight_name": "Revenue",
    }
    second = {"project_id": 1, "insight_id": 15, "insight_name": "Pageviews", "deleted": False}
    board = {"dashboard_id": 1, "dashboard_name": "Board"}
    assert await deployment.view("dashboard_insights", "insight_id, dashboard_id") == [
        first | board | {"tile_id": 70, "deleted": False},
        first | {"dashboard_id": 2, "tile_id": 71, "deleted": True},
        second | board,
        second | {"dashboard_id": 9},
    ]


@pytest.mark.parametrize(
    "held", [None, 3, "text", {}, [None], ["x"], [[1]], [{"dashboard_id": {}}], [10**30], [-1]]
)
async def test_what_an_insight_says_of_its_dashboards_may_be_any_json(
    connection: asyncpg.Connection[asyncpg.Record], held: Any
) -> None:
    """The view answers all the same, and names no dashboard then."""
    deployment = Deployment(connection, Tables("posthog"))
    await deployment.put("insights", id=1, dashboards=held, dashboard_tiles=held)
    assert await deployment.view("dashboard_insights", "insight_id") == []


async def test_flags_that_nobody_changed_or_used_for_90_days_are_stale(
    deployment: Deployment,
) -> None:
    """Whatever happened last counts; archived and deleted flags are no news."""
    now = datetime.now(UTC).replace(microsecond=0)
    old, older, young = (now - timedelta(days=days) for days in (91, 400, 89))
    await deployment.put("users", id=7, email="ada@example.com")
    flags: list[dict[str, Any]] = [
        {"created_at": older, "updated_at": old, "name": "The old one", "created_by": 7},
        {"created_at": older, "last_called_at": old, "deleted": False, "archived": False},
        {"created_at": old},
        {"created_at": older, "updated_at": young},
        {"created_at": older, "last_called_at": young},
        {"created_at": young},
        {"created_at": older, "archived": True},
        {"created_at": older, "deleted": True},
        {"created_at": older, "_deleted_at": NOON},
        {},
    ]
    for number, values in enumerate(flags):
        given = {"id": number, "key": f"flag-{number}", "active": True, **values}
        await deployment.put("feature_flags", **given)
    every = {"project_id": 1, "active": True, "days_since": 91}
    assert await deployment.view("stale_flags", "id") == [
        every
        | {
            "id": 0,
            "key": "flag-0",
            "name": "The old one",
            "created_at": older,
            "updated_at": old,
            "created_by_email": "ada@example.com",
        },
        every | {"id": 1, "key": "flag-1", "created_at": older, "last_called_at": old},
        every | {"id": 2, "key": "flag-2", "created_at": old},
    ]


async def test_people_with_what_their_recordings_show(
    connection: asyncpg.Connection[asyncpg.Record],
) -> None:
    """Without deleted persons, recordings that are deleted or expired, and cohorts they left."""
    deployment, hour = Deployment(connection, Tables("posthog")), timedelta(hours=1)
    bo, gone = (ADA.replace("1", f"{number}") for number in (2, 3))
    await deployment.put("persons", uuid=ADA, name="Ada", properties={"email": "ada@example.com"})
    await deployment.put("persons", uuid=bo, properties=[])
    for number, (name, of_cohort, of_member) in enumerate(
        (
            ("Power users", {}, {}),
            ("Beta", {}, {}),
            (None, {}, {}),
            ("deleted", {"deleted": True}, {}),
            ("gone", {"_deleted_at": NOON}, {}),
            ("left", {}, {"_deleted_at": NOON}),
            ("of another project", {"project_id": 2}, {"project_id": 2}),
        )
    ):
        await deployment.put("cohorts", id=number, name=name, **of_cohort)
        await deployment.put("cohort_members", cohort_id=number, person_uuid=ADA, **of_member)
    await deployment.put("persons", uuid=gone, _deleted_at=NOON)
    for id, values in {
        "r1": {"start_time": NOON, "end_time": NOON + hour},
        "r2": {"start_time": NOON - hour},
        "r3": {"start_time": NOON - 9 * hour, "_deleted_at": NOON},
        "r4": {"start_time": NOON - 9 * hour, "_expired_at": NOON},
        "r5": {"start_time": NOON - 9 * hour, "project_id": 2},
    }.items():
        await deployment.put("session_recordings", id=id, person_uuid=ADA, **values)
    assert await deployment.view("people_overview", "uuid") == [
        {
            "project_id": 1,
            "uuid": UUID(ADA),
            "name": "Ada",
            "email": "ada@example.com",
            "recordings": 2,
            "first_seen": NOON - hour,
            "last_seen": NOON + hour,
            "cohorts": ["Beta", "Power users"],
        },
        {"project_id": 1, "uuid": UUID(bo), "recordings": 0, "cohorts": []},
    ]


@pytest.mark.parametrize("properties", [None, {}, [], "text", 3, {"email": None}, {"email": 7}])
async def test_the_properties_of_a_person_may_be_any_json(
    connection: asyncpg.Connection[asyncpg.Record], properties: Any
) -> None:
    """The view answers all the same."""
    deployment = Deployment(connection, Tables("posthog"))
    await deployment.put("persons", uuid=ADA, properties=properties)
    await deployment.put("session_recordings", id="r1", person_uuid=ADA)
    (row,) = await deployment.view("recording_overview", "id")
    assert row.get("person_email") == ("7" if properties == {"email": 7} else None)


async def test_the_views_come_and_go_with_the_migrations(empty_dsn: str) -> None:
    """Up, down and up again, in two deployments that do not touch each other."""
    database = Database(parse_database_url(empty_dsn), Timeouts())
    connection = await asyncpg.connect(empty_dsn)

    async def found() -> set[tuple[str, str]]:
        rows = await connection.fetch(
            "SELECT schemaname, viewname FROM pg_views "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        return {(row["schemaname"], row["viewname"]) for row in rows}

    both = {(schema, view) for schema in ("us", ODD_NAME) for view in VIEWS}
    ours = {(schema, view) for schema, view in both if schema == "us"}
    try:
        for _ in range(2):
            await migrate(database, Tables("us"))
            await migrate(database, Tables(ODD_NAME))
            assert await found() == both
            await migrate(database, Tables(ODD_NAME), "base")
            assert await found() == ours
            await migrate(database, Tables("us"), "base")
            assert await found() == set()
    finally:
        await connection.close()
        await database.close()


async def test_a_role_that_may_only_read_reads_the_views(
    dsn: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Without any right to the tables behind them."""
    role = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'CREATE ROLE "{role}" LOGIN')
    try:
        await connection.execute(f'GRANT USAGE ON SCHEMA posthog TO "{role}"')
        for view in VIEWS:
            await connection.execute(f'GRANT SELECT ON posthog.{view} TO "{role}"')
        lowly = await asyncpg.connect(dsn, user=role)
        for view in VIEWS:
            assert await lowly.fetch(f"SELECT * FROM posthog.{view}") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await lowly.fetch("SELECT * FROM posthog.share_passwords")
        await lowly.close()
    finally:
        await connection.execute(f'DROP OWNED BY "{role}"')
        await connection.execute(f'DROP ROLE "{role}"')


async def test_the_log_is_told_in_words(deployment: Deployment) -> None:
    """By whom: a user under the name that is known, an employee in a user's name, or PostHog."""
    await deployment.put("users", id=7, first_name="Ada", last_name="", email="ada@example.com")
    await deployment.put("users", id=8, email="bo@example.com")
    done: list[dict[str, Any]] = [
        {
            "user": 7,
            "detail": {"name": "new-checkout", "changes": [{"field": "b"}, {"field": "a"}, {}]},
        },
        {"user": 8, "was_impersonated": True, "item_id": "14"},
        {"user": 9, "detail": None},
        {"is_system": True, "detail": {"name": "", "changes": None}},
        {"_deleted_at": NOON},
    ]
    for number, values in enumerate(done):
        entry = {"activity": "updated", "scope": "FeatureFlag", "created_at": NOON, **values}
        await deployment.put("activity_log", id=ADA[:-1] + str(number), **entry)
    every = {"project_id": 1, "done_at": NOON, "activity": "updated", "scope": "FeatureFlag"}
    rows = await deployment.view("who_did_what", "id")
    assert [{k: v for k, v in row.items() if k != "id"} for row in rows] == [
        every | row
        for row in (
            {
                "done_by": "Ada",
                "email": "ada@example.com",
                "by_whom": "user",
                "item_name": "new-checkout",
                "changed": ["a", "b"],
            },
            {
                "done_by": "bo@example.com",
                "email": "bo@example.com",
                "by_whom": "employee",
                "item_id": "14",
            },
            {"done_by": "9", "by_whom": "user"},
            {"done_by": "PostHog", "by_whom": "system"},
        )
    ]
