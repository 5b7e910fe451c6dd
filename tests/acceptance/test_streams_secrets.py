"""P11 in every stream: what is secret at the source is nowhere in the copy, nor in what is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from etl.sandbox.server import RunningSandbox
from tests.acceptance.test_secrets import assert_hidden, dump
from tests.conftest import StartSandbox
from tests.support.command import Command, Result
from tests.support.sql import select, value
from tests.support.streams import SMALL, asked, put

# Each in the form that its kind has at PostHog.
WEBHOOK = "https://hooks.canary.example/services/T0CANARY1/B0CANARY2/xCanaryWebhook3"
SLACK_HOOK = "https://hooks.canary.example/services/T0CANARY1/slackCanary4"
SECRET_KEY = "phs_canarySecretKeyValue5aBcDeFgHiJ"
TOKEN = "canaryAccessToken6xYzAbCdEfGhI"
PASSWORD = "canary-share-password-7-long"
SECRETS = (WEBHOOK, SLACK_HOOK, SECRET_KEY, TOKEN, PASSWORD)

PARTS = ("/services/T0CANARY1", "xCanaryWebhook3", "slackCanary4", "canarySecretKey", "canaryAcc")

KEEPING = (
    *("subscriptions", "project_secret_api_keys", "insights", "insight_sharing"),
    *("dashboards", "dashboard_sharing", "event_definitions"),
)
# At the end of its list, where no fault reaches it.
OLD = {"created_at": "2020-01-01T00:00:00Z"}
ALL = {"POSTHOG_ETL_DISABLED_STREAMS": "", "POSTHOG_ETL_REQUEST_ATTEMPTS": "1"}


def spoiled(path: str, record: int, **fields: Any) -> dict[str, Any]:
    """A rule that puts fields into one record of each answer to requests for `path`."""
    return {"match": {"path": path}, "fault": {"mutate": {"record": record, "set": fields}}}


def plant(sandbox: RunningSandbox) -> None:
    """Put secrets where the API has them, where it might, and into records that cannot load."""
    control = sandbox.control
    control.change(
        put("subscription", id=10_901, target_type="webhook", target_value=WEBHOOK, **OLD),
        put("subscription", id=10_902, target_type="slack", target_value=SLACK_HOOK, **OLD),
        put("sharing", resource_type="insight", resource_id=10_001, access_token=TOKEN),
        put("sharing", resource_type="insight", resource_id=10_002, access_token=TOKEN),
        put("sharing", resource_type="insight", resource_id=10_003, access_token=TOKEN),
        put("sharing", resource_type="dashboard", resource_id=10_001, access_token=TOKEN),
        put("sharing", resource_type="dashboard", resource_id=10_002, access_token=TOKEN),
    )
    hook = {"target_type": "webhook", "target_value": WEBHOOK}
    control.add_faults(
        spoiled("/subscriptions", 0, interval="often", **hook),
        spoiled("/subscriptions", 1, was=[hook], note=f"sent to {WEBHOOK}", **hook),
        spoiled("/subscriptions", 2, target_type=None, target_value={"url": WEBHOOK}),
        spoiled("/project_secret_api_keys", 0, value=SECRET_KEY, mask_value=7),
        spoiled("/project_secret_api_keys", 1, value=SECRET_KEY, scopes="all of them"),
        spoiled("/project_secret_api_keys", 2, rolled={"value": SECRET_KEY}, id=None),
        spoiled("/dashboards/10001/sharing", 0, password=PASSWORD, token={"access_token": TOKEN}),
        spoiled("/event_definitions", 0, media_preview_urls=[f"https://m.example/?X-Sig={TOKEN}"]),
        spoiled("/event_definitions", 1, media_preview_urls=[TOKEN], verified="perhaps"),
        spoiled("/insights/10001/sharing", 0, password=PASSWORD, other={"access_token": TOKEN}),
        spoiled(
            "/insights/10002/sharing",
            0,
            enabled="perhaps",
            share_passwords=[{"id": 1, "password": PASSWORD}],
        ),
        spoiled(
            "/insights/10003/sharing",
            0,
            share_passwords=json.dumps([{"id": 2, "password": PASSWORD, "raw_password": PASSWORD}]),
        ),
    )


async def assert_nowhere(dsn: str, *results: Result) -> None:
    """No secret, nor a part of one, was printed or stored, whatever the table."""
    dumped = await dump(dsn)
    for result in results:
        for secret in SECRETS:
            assert_hidden(secret, result, dumped)
        for part in PARTS:
            assert part not in result.out + result.err + dumped


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_no_secret_of_the_source_is_printed_or_stored(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Also not of a record that is set aside, in a field that nobody knows, or with --debug."""
    sandbox = await start_sandbox(**SMALL, flavour=flavour)
    plant(sandbox)
    command = Command(sandbox.url, dsn, **ALL)
    result = await command.run("sync", *KEEPING, "--debug")
    assert (result.code, "record.rejected" in result.err) == (3, True), result.err
    kept = await value(dsn, "SELECT target_value FROM posthog.subscriptions WHERE id = 10902")
    assert kept.startswith("sha256:")
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.rejects") >= 4
    assert len(asked(sandbox, "/insights/1")) == SMALL["insights"]
    boards = [*sandbox.control.truth_rows("dashboards")]
    assert len(asked(sandbox, "/dashboards/1")) == len(boards)
    await assert_nowhere(dsn, result)


async def test_a_list_of_what_is_no_object_or_nested_too_deeply_is_set_aside_without_its_secrets(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Such a record has no fields to go by, so nothing of it is kept."""
    sandbox = await start_sandbox(**SMALL)
    deep = f'{{"id": 1, "target_value": "{WEBHOOK}", "a": ' + "[" * 5000 + "]" * 5000 + "}"
    sandbox.control.add_faults(
        {
            "match": {"path": "/subscriptions"},
            "fault": {"mutate": {"record": 0, "raw": {"ai_config": deep}}},
        },
        {
            "match": {"path": "/project_secret_api_keys"},
            "fault": {
                "status": 200,
                "body": {"count": 2, "next": None, "results": [SECRET_KEY, [SECRET_KEY]]},
            },
        },
    )
    command = Command(sandbox.url, dsn, **ALL)
    result = await command.run("sync", "subscriptions", "project_secret_api_keys", "--debug")
    assert result.code == 3, result.err
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.rejects") == 4
    await assert_nowhere(dsn, result)


async def test_what_an_error_quotes_is_not_passed_on(start_sandbox: StartSandbox, dsn: str) -> None:
    """The words stay, and what could be a secret in them does not."""
    sandbox = await start_sandbox(**SMALL)
    quoting = {
        "/subscriptions": (500, f"Delivery to {WEBHOOK} failed"),
        "/project_secret_api_keys": (403, f"The key {SECRET_KEY} has no access to this project"),
        "/insights": (400, f"Token {TOKEN} is of no insight"),
        "/groups_types": (404, f"Not found: project of {SLACK_HOOK}?token={TOKEN}"),
    }
    for path, (status, detail) in quoting.items():
        body = {"type": "server_error", "detail": detail}
        fault = {"status": status, "body": body}
        sandbox.control.add_faults({"match": {"path": path}, "fault": fault})
    command = Command(sandbox.url, dsn, **ALL)
    synced = await command.run(
        "sync", "subscriptions", "project_secret_api_keys", "insights", "groups", "--debug"
    )
    checked = await command.run("check")
    reasons = await select(dsn, "SELECT reason FROM posthog_etl.runs ORDER BY stream")
    said = [row["reason"] for row in reasons]
    assert "Delivery to ••• failed" in said[-1]
    assert all("•••" in reason for reason in said)
    assert "•••" in checked.out
    await assert_nowhere(dsn, synced, checked)
