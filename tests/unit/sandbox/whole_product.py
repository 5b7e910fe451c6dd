"""What a simple reader of a project reads of what product teams made; for sandbox tests."""

from collections.abc import Awaitable, Callable

from tests.unit.sandbox.reader import Row

Walk = Callable[..., Awaitable[list[Row]]]


async def product_tables(walk: Walk) -> dict[str, list[Row]]:
    """All rows by table, in any order; users are not yet replaced by their ids."""
    flags = [*await walk("feature_flags/"), *await walk("feature_flags/", archived="true")]
    experiments = [*await walk("experiments/"), *await walk("experiments/", archived="true")]
    comments = await walk("comments/", deleted="true")
    comments += await walk("comments/", deleted="true", scope="conversations_ticket")
    return {
        "comments": comments,
        "annotations": await walk("annotations/", limit=4),
        "actions": [_action(row) for row in await walk("actions/")],
        "feature_flags": [_flag(row) for row in _once(flags)],
        "surveys": [_survey(row) for row in await walk("surveys/", limit=1000)],
        "experiments": [_experiment(row) for row in _once(experiments)],
    }


def _once(rows: list[Row]) -> list[Row]:
    return [*{row["id"]: row for row in rows}.values()]


def _action(row: Row) -> Row:
    row.pop("creation_context", None)
    for step in row["steps"]:
        step.pop("selector_regex", None)
    return row


def _flag(row: Row) -> Row:
    for name in ("surveys", "features", "experiment_set_metadata"):
        row.pop(name, None)
    for group in row["filters"].get("groups", []):
        for condition in group["properties"]:
            condition.pop("cohort_name", None)
            condition.pop("group_key_names", None)
    if row["has_encrypted_payloads"]:
        assert set(row["filters"].pop("payloads").values()) <= {"********* (encrypted)"}
    return row


def _survey(row: Row) -> Row:
    row.pop("linked_flag")
    for name in ("targeting_flag", "internal_targeting_flag"):
        row[name] = row[name] and row[name]["id"]
    actions = (row["conditions"] or {}).get("actions")
    if actions:
        actions["values"] = [each["id"] for each in actions["values"]]
    return row


def _experiment(row: Row) -> Row:
    row["feature_flag"] = row["feature_flag"] and row["feature_flag"]["id"]
    del row["parameters"]["feature_flag_payloads"]
    if "holdout" in row:
        holdout = row.pop("holdout")
        row["holdout_id"] = holdout and holdout["id"]
    for each in [*(row.get("metrics") or []), *(s["query"] for s in row.get("saved_metrics", []))]:
        del each["fingerprint"], each["source"]["name"]
    for each in row.get("metrics_secondary") or []:
        del each["count_query"]["dateRange"]
    return row
