"""Generates what product teams make: annotations, actions, flags, surveys and so on."""

import random
from datetime import datetime, timedelta
from uuid import UUID

from etl.sandbox.clock import to_datetime
from etl.sandbox.kinds_product import Action, Annotation, Comment, Experiment, FeatureFlag, Survey
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
            self._flag(nth)
            self._survey(nth)
            self._experiment(nth)
            self._comment(nth)

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

    def _flag(self, nth: int) -> None:
        made = self._before(400)
        cohort, group = self._base + nth % 3 + 1, [f"acme-{nth}"]
        conditions = (
            {"key": "id", "type": "cohort", "value": cohort, "operator": "in"},
            {"key": "$group_key", "type": "group", "group_type_index": 0, "value": group},
            {"key": "email", "type": "person", "value": "@example.com", "operator": "icontains"},
        )
        self._store.add(
            FeatureFlag(
                id=self._base + nth + 1,
                key=f"new-checkout-{nth}",
                name=("", f"The new checkout, part {nth}", "Größe 🦔")[nth % 3],
                filters={
                    "groups": [{"properties": [*conditions[: nth % 4]], "rollout_percentage": 50}],
                    "multivariate": None,
                    "payloads": {"true": f"{self._draw.getrandbits(80):020x}"} if nth % 2 else {},
                },
                active=nth % 3 != 2,
                archived=nth % 4 == 3,
                created_at=made,
                created_by=self._made_by(nth),
                updated_at=None if nth % 6 == 4 else self._after(made),
                version=nth + 1,
                last_modified_by=self._made_by(nth + 1),
                tags=["checkout"][: nth % 2],
                evaluation_contexts=["web"][: nth % 2],
                usage_dashboard=self._base + nth if nth % 5 == 1 else None,
                analytics_dashboards=[self._base + nth][: nth % 2],
                is_remote_configuration=nth % 4 == 1,
                has_encrypted_payloads=nth % 4 == 1,
                last_called_at=None if nth % 3 == 2 else self._before(20),
            )
        )

    def _survey(self, nth: int) -> None:
        made = self._before(150)
        flag, actions = self._base + nth + 1, [self._base + nth + 1]
        repeated = nth % 3 == 1
        self._store.add(
            Survey(
                id=str(UUID(int=self._draw.getrandbits(128), version=4)),
                name=f"How do you like it? {nth}",
                description="" if nth % 2 else "Größe 🦔",
                type=("popover", "widget", "api")[nth % 3],
                linked_flag=flag if nth % 2 else None,
                targeting_flag=flag if nth % 3 == 0 else None,
                internal_targeting_flag=flag if nth % 4 else None,
                questions=[{"id": f"q{nth}", "type": "open", "question": "Why?"}] * (nth % 3),
                conditions={"url": "/pricing"} if nth % 3 else None,
                actions=actions if nth % 2 else [],
                appearance={"theme": "light"} if nth % 4 else None,
                created_at=made,
                created_by=self._made_by(nth),
                start_date=self._after(made) if nth % 4 else None,
                archived=nth % 4 == 3,
                responses_limit=100 if nth % 5 == 2 else None,
                iteration_count=3 if repeated else None,
                iteration_frequency_days=30 if repeated else None,
                iteration_start_dates=[made.isoformat()] if repeated else None,
            )
        )

    def _experiment(self, nth: int) -> None:
        made = self._before(120)
        started = self._after(made) if nth % 3 else None
        node = {"kind": "ActionsNode", "id": self._base + nth + 1}
        metric = {"kind": "ExperimentMetric", "metric_type": "mean", "source": node}
        self._store.add(
            Experiment(
                id=self._base + nth + 1,
                name=f"Shorter checkout {nth}",
                description=("", None, "Größe 🦔")[nth % 3],
                start_date=started,
                end_date=self._after(started) if started and nth % 4 == 2 else None,
                feature_flag=self._base + nth + 1,
                holdout=nth if nth % 5 == 1 else None,
                exposure_cohort=self._base + 1 if nth % 6 == 5 else None,
                parameters={"minimum_detectable_effect": nth} if nth % 2 else None,
                archived=nth % 4 == 3,
                created_at=made,
                created_by=self._made_by(nth),
                updated_at=self._after(made),
                metrics=[metric] * (nth % 3),
                metrics_secondary=[{"count_query": {"kind": "TrendsQuery"}}] * (nth % 2),
                saved_metrics=[{"id": nth, "query": metric}] * (nth % 2),
                conclusion="won" if nth % 4 == 2 else None,
                excluded_variants=["test-2"] if nth % 3 == 2 else None,
            )
        )

    def _comment(self, nth: int) -> None:
        made = self._before(60)
        before = [*self._store.comments]
        text = (f"Look at this {nth}", "", None, "Größe 🦔")[nth % 4]
        self._store.add(
            Comment(
                id=str(UUID(int=self._draw.getrandbits(128), version=4)),
                content=text,
                rich_content={"type": "doc", "content": [{"text": text}]} if nth % 2 else None,
                version=nth % 3,
                created_at=made,
                created_by=self._made_by(nth),
                item_id=None if nth % 6 == 3 else f"item-{nth}",
                item_context={"time_in_recording": made.isoformat()} if nth % 3 == 0 else None,
                scope=("Replay", "Insight", "conversations_ticket", "Notebook")[nth % 4],
                source_comment=before[0] if nth % 5 == 4 else None,
                deleted=nth % 5 == 2,
            )
        )
