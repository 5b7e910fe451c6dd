"""Generates what product teams make: annotations, actions, flags, surveys and so on."""

import random
from datetime import datetime, timedelta

from etl.sandbox.clock import to_datetime
from etl.sandbox.kinds_product import Action, Annotation
from etl.sandbox.options import SandboxOptions
from etl.sandbox.store import Store

_USERS = 5


def furnish_product(store: Store, options: SandboxOptions, project: int, started_us: int) -> None:
    """Adds as many of each as `others` says. Every user made some of them, and nobody some."""
    _Furnisher(store, options, project, to_datetime(started_us)).add(options.others)


class _Furnisher:
    def __init__(
        self, store: Store, options: SandboxOptions, project: int, started: datetime
    ) -> None:
        self._store = store
        self._base = project * 10_000
        self._started = started
        # A stream of its own, so that other records stay what they were.
        self._draw = random.Random(f"{options.seed}:{project}:product")

    def add(self, count: int) -> None:
        """Adds so many of each."""
        for nth in range(count):
            self._annotation(nth)
            self._action(nth)

    def _before(self, most_days: float) -> datetime:
        """Returns a random instant of the last so many days, to the microsecond."""
        return self._started - timedelta(microseconds=self._draw.randrange(int(most_days * 864e8)))

    def _after(self, made: datetime) -> datetime:
        return made + (self._started - made) * self._draw.random()

    def _made_by(self, nth: int) -> int | None:
        return None if nth % 7 == 6 else nth % _USERS + 1

    def _annotation(self, nth: int) -> None:
        made = self._before(200)
        insights = [*self._store.insights.values()]
        insight = insights[nth % len(insights)] if insights and nth % 3 == 1 else None
        self._store.add(
            Annotation(
                # One of the organization is the same in every project.
                id=1 if nth == 0 else self._base + nth,
                content=(f"Release {nth}", "", None, "Größte Änderung 🦔")[nth % 4],
                date_marker=None if nth % 9 == 8 else made.replace(minute=0, second=0),
                creation_type="GIT" if nth % 5 == 4 else "USR",
                dashboard_item=insight.id if insight else None,
                dashboard_id=self._base + nth if nth % 3 == 2 else None,
                created_at=made,
                created_by=self._made_by(nth),
                updated_at=self._after(made),
                deleted=nth % 6 == 5,
                scope=("project", "dashboard_item", "dashboard")[nth % 3]
                if nth
                else "organization",
                emoji="🚀" if nth % 4 == 3 else None,
                hidden_in_user_interface=(None, False, True)[nth % 3],
                tags=["release", "größe"][: nth % 3],
            )
        )

    def _action(self, nth: int) -> None:
        self._store.add(
            Action(
                id=self._base + nth + 1,
                name=(f"Signed up {nth}", None, 'Clicked "Größe"')[nth % 3],
                description="" if nth % 2 else f"Part {nth} of the funnel",
                tags=["funnel"][: nth % 2],
                post_to_slack=nth % 4 == 3,
                slack_message_format="[event.name]" if nth % 4 == 3 else "",
                steps=[{"event": "$autocapture", "selector": f"button.c{nth}", "url": None}]
                * (nth % 3),
                created_at=self._before(150),
                created_by=self._made_by(nth + 2),
                last_calculated_at=self._before(3) if nth % 5 else None,
                pinned_at=self._before(9) if nth % 6 == 4 else None,
            )
        )
