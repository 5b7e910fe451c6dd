"""Generates what users made in a project; the same options and seed give the same data."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from etl.sandbox.clock import to_datetime
from etl.sandbox.furnish_groups import furnish_groups
from etl.sandbox.kinds import (
    Insight,
    Playlist,
    PlaylistItem,
    SecretKey,
    SharePassword,
    Sharing,
    Subscription,
    User,
)
from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store, short_id
from etl.sandbox.traits import OWNER_EMAIL

_USERS = (
    ("Olga", "Owner", OWNER_EMAIL, "engineering"),
    ("Ana", "", "ana@sandbox.example", "product"),
    ("Bo", "Łukasz", "bo@sandbox.example", None),
    ("Çelik", 'Say "Hi"', "çelik@sandbox.example", "data"),
    ("Di", "韩梅梅", "di@sandbox.example", None),
)
_TARGETS = (
    ("email", "ana@sandbox.example,bo@sandbox.example"),
    ("slack", "C0123ABC|#reports"),
    ("webhook", "https://hooks.sandbox.example/services/T0/B{n}/{token}"),
    ("email", "çelik@sandbox.example"),
    ("slack", "C0456DEF"),
)
_FREQUENCIES = ("daily", "weekly", "monthly", "yearly")
_SCOPES = (["endpoint:read"], ["feature_flag:read", "query:read"], ["*"], ["insight:read"])


def furnish(
    options: SandboxOptions, project: int, started_us: int, recordings: Sequence[str]
) -> Store:
    """Returns all that users made before the clock's start. `recordings`: the newest ids."""
    draw = random.Random(f"{options.seed}:{project}:store")
    return _Furnisher(options, project, to_datetime(started_us), recordings, draw).store


class _Furnisher:
    """Fills one store. Ids begin with the project's number, so that no two projects share one."""

    def __init__(
        self,
        options: SandboxOptions,
        project: int,
        started: datetime,
        recordings: Sequence[str],
        draw: random.Random,
    ) -> None:
        self.store = Store()
        self._base = project * 10_000
        self._started = started
        self._recordings = recordings
        self._draw = draw
        self._users()
        self._insights(options.insights)
        self._subscriptions(options.subscriptions)
        furnish_groups(self.store, options.groups, started, draw)
        self._playlists(options.playlists)
        self._secret_keys(options.secret_keys)
        self._sharing()

    def _before(self, most_days: float) -> datetime:
        """Returns a random instant of the last so many days, to the microsecond."""
        return self._started - timedelta(microseconds=self._draw.randrange(int(most_days * 864e8)))

    def _token(self) -> str:
        return f"{self._draw.getrandbits(160):040x}"

    def _users(self) -> None:
        for number, (first, last, email, role) in enumerate(_USERS, 1):
            self.store.add(
                User(
                    id=number,
                    # The same in every project, whatever was drawn before.
                    uuid=str(UUID(int=0x018F0000_0000_7000_8000_000000000000 + number)),
                    distinct_id=f"staff-{number:04d}",
                    first_name=first,
                    last_name=last,
                    email=email,
                    is_email_verified=(True, None, False)[number % 3],
                    hedgehog_config=None if number % 2 else {"use_as_profile": True, "color": None},
                    role_at_organization=role,
                )
            )

    def _insights(self, count: int) -> None:
        for nth in range(count):
            number = self._base + nth + 1
            made = self._before(200)
            old = nth % 7 == 5
            self.store.add(
                Insight(
                    id=number,
                    short_id=short_id(number),
                    name=(f"Weekly users {nth}", "", None, 'Orders "by" größe 🦔')[nth % 4],
                    derived_name=f"Pageview count {nth}" if nth % 2 else None,
                    description="" if nth % 3 else f"Made for review {nth}\nwith a second line",
                    query=None
                    if old
                    else {"kind": "InsightVizNode", "source": {"kind": "TrendsQuery", "nth": nth}},
                    filters={"insight": "TRENDS", "events": [{"id": "$pageview"}]} if old else {},
                    dashboards=[self._base + each for each in range(nth % 3)],
                    tags=["weekly", "größe"][: nth % 3],
                    saved=nth % 5 != 4,
                    favorited=nth % 6 == 0,
                    deleted=nth % 10 == 9,
                    created_at=made,
                    created_by=None if nth % 8 == 7 else nth % len(_USERS) + 1,
                    last_modified_at=made + (self._started - made) * self._draw.random(),
                    last_modified_by=None if nth % 8 == 7 else (nth * 3) % len(_USERS) + 1,
                )
            )

    def _subscriptions(self, count: int) -> None:
        insights = [*self.store.insights]
        for nth in range(count):
            target, value = _TARGETS[nth % len(_TARGETS)]
            made = self._before(150)
            on_dashboard = nth % 4 == 3 or not insights
            frequency = _FREQUENCIES[nth % 4]
            start = made.replace(hour=nth % 24, minute=0, second=0, microsecond=0)
            self.store.add(
                Subscription(
                    id=self._base + nth + 1,
                    dashboard=self._base + nth if on_dashboard else None,
                    insight=None if on_dashboard else insights[nth % len(insights)],
                    target_type=target,
                    target_value=value.format(n=nth, token=self._token()),
                    frequency=frequency,
                    interval=1 + nth % 3,
                    byweekday=["monday", "thursday"] if frequency == "weekly" else None,
                    bysetpos=(-1, 1)[nth % 2] if frequency == "monthly" else None,
                    count=5 if nth % 9 == 4 else None,
                    start_date=start,
                    until_date=start + timedelta(days=700) if nth % 5 == 1 else None,
                    created_at=made,
                    created_by=None if nth % 7 == 6 else nth % len(_USERS) + 1,
                    deleted=nth % 6 == 5,
                    title=None if nth % 5 == 2 else f"Report № {nth}",
                    content_type="dashboard" if on_dashboard else "insight",
                    dashboard_export_insights=insights[:3] if on_dashboard else [],
                    enabled=nth % 8 != 3,
                    integration_id=self._base + 7 if target == "slack" else None,
                    summary_enabled=nth % 3 == 0,
                    summary_prompt_guide="Be brief." if nth % 3 == 0 else None,
                )
            )

    def _playlists(self, count: int) -> None:
        for nth in range(count):
            number = self._base + nth + 1
            name = short_id(-number)
            made = self._before(90)
            collection = nth % 2 == 0
            self.store.add(
                Playlist(
                    short_id=name,
                    id=number,
                    name=(f"Rage clicks {nth}", None, "Vu & aimé ❤")[nth % 3],
                    derived_name=None if collection else "Unnamed filter",
                    description="" if nth % 3 else "For the design review",
                    type="collection" if collection else "filters",
                    pinned=nth % 4 == 0,
                    deleted=nth % 8 == 7,
                    filters={} if collection else {"date_from": "-3d", "order": "start_time"},
                    created_at=made,
                    created_by=None if nth % 5 == 4 else nth % len(_USERS) + 1,
                    last_modified_at=made + (self._started - made) * self._draw.random(),
                    last_modified_by=nth % len(_USERS) + 1,
                )
            )
            if collection:
                size = min(len(self._recordings), 2 + 3 * nth)
                for each in self._draw.sample(self._recordings, size):
                    self.store.add(PlaylistItem(name, each))

    def _secret_keys(self, count: int) -> None:
        for nth in range(count):
            made = self._before(120)
            self.store.add(
                SecretKey(
                    id=f"{self._draw.getrandbits(40):010x}",
                    label=f"Server № {nth}",
                    mask_value=f"phs_...{self._draw.getrandbits(16):04x}",
                    created_at=made,
                    created_by=None if nth % 5 == 4 else nth % len(_USERS) + 1,
                    last_used_at=self._before(2) if nth % 3 != 1 else None,
                    last_rolled_at=made + (self._started - made) / 2 if nth % 2 else None,
                    scopes=list(_SCOPES[nth % len(_SCOPES)]),
                )
            )

    def _sharing(self) -> None:
        """Shares some of the newest recordings and every third insight; no others."""
        insights = [str(each.id) for each in self.store.insights.values()]
        resources = [("recording", each) for each in self._recordings[:9:2]]
        resources += [("insight", each) for each in insights[::3]]
        for nth, (resource_type, resource_id) in enumerate(resources):
            made = self._before(20)
            self.store.add(
                Sharing(
                    resource_type=resource_type,
                    resource_id=resource_id,
                    enabled=nth % 4 != 3,
                    created_at=made,
                    access_token=self._token(),
                    settings=(None, {}, {"whitelabel": True, "hideExtraDetails": False})[nth % 3],
                    password_required=nth % 2 == 1,
                )
            )
            for each in range((0, 2, 0, 1)[nth % 4]):
                self.store.add(
                    SharePassword(
                        id=self._base + 10 * nth + each + 1,
                        resource_type=resource_type,
                        resource_id=resource_id,
                        created_at=made + (self._started - made) / (each + 2),
                        note=(None, "for the board", "")[(nth + each) % 3],
                        created_by=None if nth % 5 == 3 else nth % len(_USERS) + 1,
                        is_active=(nth + each) % 7 != 6,
                    )
                )
