"""What is kept of records that hold others, or what the server computes: said a second time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Record = dict[str, Any]


def _id_of(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) else value


def _each(value: Any, kept: Callable[[Record], Record]) -> Any:
    """JSON with each object in it as `kept` returns it, the inner ones first."""
    return json.loads(json.dumps(value), object_hook=kept)


def _flag(record: Record) -> Record:
    def named(each: Record) -> Record:
        names = {"cohort_name", "group_key_names"} if {"type", "key"} <= each.keys() else set()
        return {name: value for name, value in each.items() if name not in names}

    if record.get("has_encrypted_payloads") not in (None, False):
        record = _each(record, lambda each: {k: v for k, v in each.items() if k != "payloads"})
    return {k: _each(v, named) if k == "filters" else v for k, v in record.items()}


def _survey(record: Record) -> Record:
    found = {**record}
    if "linked_flag" in found:
        found.setdefault("linked_flag_id", _id_of(found.pop("linked_flag")))
        found.pop("linked_flag", None)
    for name in ("targeting_flag", "internal_targeting_flag"):
        if name in found:
            found[name] = _id_of(found[name])
    conditions = found.get("conditions")
    actions = conditions.get("actions") if isinstance(conditions, dict) else None
    if isinstance(actions, dict) and isinstance(actions.get("values"), list):
        values = [_id_of(each) for each in actions["values"]]
        found["conditions"] = {**conditions, "actions": {**actions, "values": values}}
    return found


def _experiment(record: Record) -> Record:
    def defined(each: Record) -> Record:
        gone = {"fingerprint"} | ({"name"} if each.get("kind") == "ActionsNode" else set())
        kept = {name: value for name, value in each.items() if name not in gone}
        for name in ("count_query", "funnels_query"):
            if isinstance(kept.get(name), dict):
                kept[name].pop("dateRange", None)
        return kept

    found = {**record}
    if "holdout" in found:
        found.setdefault("holdout_id", _id_of(found["holdout"]))
        del found["holdout"]
    if "feature_flag" in found:
        found["feature_flag"] = _id_of(found["feature_flag"])
    if "parameters" in found:
        found["parameters"] = _each(
            found["parameters"],
            lambda each: {k: v for k, v in each.items() if k != "feature_flag_payloads"},
        )
    for name in ("metrics", "metrics_secondary", "secondary_metrics", "saved_metrics"):
        if name in found:
            found[name] = _each(found[name], defined)
    return found


REDUCED: Mapping[str, Callable[[Record], Record]] = {
    "feature_flags": _flag,
    "surveys": _survey,
    "experiments": _experiment,
}
