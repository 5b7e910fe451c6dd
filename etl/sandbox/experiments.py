"""Experiments. A newer server leaves out archived ones, and metrics unless asked for a single one.

Source: PostHog source, products/experiments/backend/presentation/experiments.py.
"""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.flags import shown_flag_inside
from etl.sandbox.kinds_product import Experiment
from etl.sandbox.lists import by_offset, newest_first, single
from etl.sandbox.staff import shown_user

READ = "experiment:read"
_PLAIN = (
    "id", "name", "description", "start_date", "end_date", "exposure_cohort", "filters",
    "archived", "deleted", "created_at", "updated_at", "type", "exposure_criteria",
    "stats_config", "conclusion", "conclusion_comment",
)  # fmt: skip
_OF_METRICS = (
    "metrics", "metrics_secondary", "secondary_metrics", "saved_metrics", "saved_metrics_ids",
    "primary_metrics_ordered_uuids", "secondary_metrics_ordered_uuids",
)  # fmt: skip
_NEWER = (
    "running_time_calculation", "excluded_variants", "scheduling_config",
    "only_count_matured_users",
)  # fmt: skip


def _shown(call: Call, experiment: Experiment, *, whole: bool) -> dict[str, Any]:
    flag = shown_flag_inside(call, experiment.feature_flag)
    payloads = {"test": f"payload of {call.now:%H}"}
    row: dict[str, Any] = {name: getattr(experiment, name) for name in _PLAIN}
    row |= {
        "feature_flag": flag,
        "feature_flag_key": flag["key"] if flag else None,
        "holdout_id": experiment.holdout,
        "parameters": {**(experiment.parameters or {}), "feature_flag_payloads": payloads},
        "created_by": shown_user(call, experiment.created_by),
    }
    if whole or not call.is_cloud:
        row |= {name: _read(call, getattr(experiment, name)) for name in _OF_METRICS}
    if call.is_cloud:
        row |= {name: getattr(experiment, name) for name in _NEWER}
        holdout = experiment.holdout
        row |= {
            "holdout": None if holdout is None else {"id": holdout, "name": f"Holdout {holdout}"},
            "is_legacy": False,
            "status": ("running", "paused")[call.now.hour % 2],
            "user_access_level": "editor",
        }
        del row["holdout_id"]
    return row


def _read(call: Call, value: Any) -> Any:
    """Metrics as they are read: with names, date ranges and fingerprints of the moment."""
    if isinstance(value, list):
        return [_read(call, each) for each in value]
    if not isinstance(value, dict):
        return value
    row = {name: _read(call, each) for name, each in value.items()}
    if row.get("kind") == "ActionsNode":
        row["name"] = f"Action as of {call.now:%H}"
    if row.get("kind") == "ExperimentMetric":
        row["fingerprint"] = f"{call.now:%Y%m%d%H}"
    if "count_query" in row:
        row["count_query"] = {**row["count_query"], "dateRange": {"date_from": str(call.now)}}
    return row


async def _list(call: Call) -> web.Response:
    """Newest first; deleted ones are left out."""
    found = [each for each in call.store.experiments.values() if not each.deleted]
    if call.is_cloud:
        archived = call.request.query.get("archived", "").lower() == "true"
        found = [each for each in found if each.archived == archived]
    found.sort(key=lambda each: newest_first(each.created_at, f"{each.id:020}"), reverse=True)
    return by_offset(call, found, lambda each: _shown(call, each, whole=False))


async def _retrieve(call: Call) -> web.Response:
    wanted = call.request.match_info["id"]
    for each in call.store.experiments.values():
        if str(each.id) == wanted and not each.deleted:
            return single(call, _shown(call, each, whole=True))
    raise not_found("Not found.")


ENDPOINTS = (
    Endpoint("GET", "/api/projects/{project_id}/experiments", READ, _list),
    Endpoint("GET", "/api/projects/{project_id}/experiments/{id}", READ, _retrieve),
)
