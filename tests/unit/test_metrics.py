"""How runs are counted, from one reading of the database to the next."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from etl.core.coverage import Coverage
from etl.core.statuses import Failure, Fault
from etl.loaders.seen_runs import RunWait
from etl.service.metrics import Metrics

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CONFIG = Path(__file__).parents[2] / "config"
READ = "posthog_etl_records_read_total"
ENDED = "posthog_etl_runs_total"


def run(name: str, read: int, ended_at: datetime | None = None) -> dict[str, Any]:
    """A run's row."""
    counts = ("records_read_fast", "rows_inserted", "rows_updated", "rejected", "requests")
    return {
        "id": name,
        "project_id": 1,
        "stream": "insights",
        "started_at": NOW - MINUTE,
        "ended_at": ended_at,
        "status": "running" if ended_at is None else "succeeded",
        "records_read": read,
        **dict.fromkeys([*counts, "bytes_read", "query_bytes_read", "waited_s"], 0),
    }


def shown(metrics: Metrics, name: str) -> float:
    """The sum of a figure over all its labels."""
    lines = metrics.text().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))


def test_a_run_is_counted_while_it_runs_and_once_when_it_has_ended() -> None:
    """However often the figures are read, and however late its end is seen."""
    metrics = Metrics()
    metrics.begin([], NOW)
    seen = []
    for at, row in [
        (0, run("a", 10)),
        (1, run("a", 25)),
        (2, run("a", 30, NOW + 1.9 * MINUTE)),
        (2.5, run("a", 30, NOW + 1.9 * MINUTE)),
    ]:
        metrics.count([row], NOW + at * MINUTE)
        seen.append((shown(metrics, READ), shown(metrics, ENDED)))
    assert seen == [(10, 0), (25, 0), (30, 1), (30, 1)]
    assert metrics.counted_until == NOW + 1.5 * MINUTE


def test_what_was_done_before_is_not_counted_again() -> None:
    """Of a run that is active when the service starts, only what comes later counts."""
    metrics = Metrics()
    metrics.begin([run("a", 200)], NOW)
    metrics.count([run("a", 240)], NOW + MINUTE)
    assert shown(metrics, READ) == 40
    metrics.count([run("a", 250, NOW + 2 * MINUTE)], NOW + 2 * MINUTE)
    assert (shown(metrics, READ), shown(metrics, ENDED)) == (50, 1)


def test_a_run_that_nobody_looked_at_is_counted_by_the_next_look() -> None:
    """From its beginning to its end."""
    metrics = Metrics()
    metrics.begin([], NOW)
    metrics.count([], NOW + MINUTE)
    metrics.count([run("a", 7, NOW + 5 * MINUTE)], NOW + 60 * MINUTE)
    assert (shown(metrics, READ), shown(metrics, ENDED)) == (7, 1)


def test_a_wait_is_shown_with_its_end_and_only_while_it_lasts() -> None:
    """By stream and by what for; one whose end nobody knows has no end."""
    metrics = Metrics()
    row = {
        **run("a", 10),
        **dict.fromkeys(("tail_until", "verified", "query_bytes_left", "succeeded_at"), None),
        "complete": Coverage(),
        "rejects": 0,
        "drift": [],
        "failures": [],
    }
    limit = RunWait("a", "sync", "tail", "the limit: 9 of 9 used", NOW, NOW + MINUTE)
    place = RunWait("b", "sync", "tail", "a place: 2 are running", NOW, None)
    metrics.seen([{**row, "waiting": [limit, place]}], {}, {}, NOW)
    text = metrics.text().decode()
    labels = '{project="1",stream="insights",waiting_for="the limit"}'
    assert f"posthog_etl_waiting_runs{labels} 1.0" in text
    ends = re.findall(r"posthog_etl_waiting_until_timestamp_seconds({.*}) (\S+)", text)
    assert [(of, float(at)) for of, at in ends] == [(labels, (NOW + MINUTE).timestamp())]
    assert 'waiting_for="a place"} 1.0' in text
    metrics.seen([{**row, "waiting": []}], {}, {}, NOW)
    assert "waiting_for=" not in metrics.text().decode()


def test_every_stream_that_is_to_be_read_has_a_freshness_also_if_it_never_succeeded() -> None:
    """One that is not available and that nobody named is told apart; others have no series."""
    refused = Failure("snapshot", "partial", "refused", NOW, "", Fault.UNAVAILABLE)
    row = {
        **run("a", 0),
        **dict.fromkeys(("tail_until", "verified", "query_bytes_left", "succeeded_at"), None),
        **{"complete": Coverage(), "rejects": 0, "drift": [], "waiting": [], "failures": []},
    }
    rows = [
        {**row, "stream": "insights", "tail_until": NOW - MINUTE, "succeeded_at": NOW},
        {**row, "stream": "cohorts", "failures": [refused]},
        {**row, "stream": "comments"},
    ]
    metrics = Metrics()
    expected = [("1", "insights"), ("1", "cohorts"), ("@current", "surveys")]
    metrics.seen(rows, {}, {}, NOW, expected)

    def series(name: str) -> dict[str, float]:
        pattern = rf'^posthog_etl_{name}{{project="(.*)",stream="(.*)"}} (\S+)$'
        found = re.findall(pattern, metrics.text().decode(), re.MULTILINE)
        return {f"{project} {stream}": float(number) for project, stream, number in found}

    never = math.inf
    assert series("freshness_seconds") == {
        "1 insights": 60,
        "1 cohorts": never,
        "@current surveys": never,
    }
    assert series("last_success_timestamp_seconds") == {
        "1 insights": NOW.timestamp(),
        "1 cohorts": 0,
        "@current surveys": 0,
    }
    unavailable = {"1 insights": 0, "1 cohorts": 1, "@current surveys": 0}
    assert series("unavailable") == unavailable
    metrics.seen(rows, {}, {}, NOW, expected, named=["cohorts"])
    assert series("unavailable") == {**unavailable, "1 cohorts": 0}


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every expression that is shipped for Prometheus and Grafana, with what it is for."""
    rules = yaml.safe_load((CONFIG / "prometheus-rules.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    board = json.loads((CONFIG / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


def test_what_is_shipped_for_prometheus_and_grafana_names_only_metrics_and_labels_there_are() -> (
    None
):
    """Each metric of a rule, a panel or a variable is one of ours, and has these labels."""
    known = {
        name: {"le", *collector._labelnames}
        for name, collector in Metrics()._registry._names_to_collectors.items()
    }
    found = list(expressions())
    assert len(found) > 25
    for about, expression in found:
        names = re.findall(r"\bposthog_etl_\w+", expression)
        assert names, about
        assert [name for name in names if name not in known] == [], about
        labels = {label for name in names for label in known[name]}
        asked = [
            *re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\"", expression),
            *(
                label
                for of in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
                for label in of.split(", ")
            ),
            *re.findall(r"label_values\(\w+, (\w+)\)", expression),
        ]
        assert [label for label in asked if label not in labels] == [], about


def test_a_run_that_died_while_it_waited_takes_nothing_back() -> None:
    """Its wait was counted while it lasted; its row does not have it."""
    metrics = Metrics()
    metrics.begin([], NOW)
    metrics.count([{**run("a", 10), "waited_s": 300.0}], NOW + MINUTE)
    metrics.count([{**run("a", 10, NOW + 1.5 * MINUTE), "waited_s": 2.0}], NOW + 2 * MINUTE)
    assert shown(metrics, "posthog_etl_wait_seconds_total") == 300
