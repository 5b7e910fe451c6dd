"""Defect 11: a secret under a name that the catalogue does not know is stored nowhere."""

from __future__ import annotations

from tests.acceptance.test_secrets import dump
from tests.adversary.rows import insight, secret_key, sharing, subscription, user
from tests.adversary.server import Adversary
from tests.support.command import Command
from tests.support.sql import select, value

HOOK = "https://hooks.example.com/services/T0/B0/canaryHook1"
KEY = "phs_canaryKey2"
TOKEN = "canaryToken3"
SECRETS = (HOOK, KEY, TOKEN)
STREAMS = ("subscriptions", "project_secret_api_keys", "insights", "insight_sharing")


async def test_unknown_text_is_a_hash_where_secrets_are(
    adversary: Adversary, command: Command, dsn: str
) -> None:
    """In `extra` and in rejects, also nested. A setting admits only the field that it names."""
    new = {"delivery": {"urls": [HOOK], "tries": 3, "on": True}, "was": HOOK}
    adversary.subscriptions.rows = [
        subscription(1, **new),
        subscription(2, **new, interval="often"),
    ]
    adversary.secret_keys.rows = [
        secret_key("k1", secret=KEY),
        secret_key("k2", scopes=7, rolled_from=[{"secret": KEY}]),
    ]
    adversary.insights.rows = [insight(1), insight(2)]
    password = {"id": "p", "created_at": None, "note": "", "created_by_email": "", "link": TOKEN}
    adversary.shares = {
        "insights/1": sharing("a", url=TOKEN, share_passwords=[password]),
        "insights/2": sharing("a", url=TOKEN, password_required="perhaps"),
    }
    every = command.with_settings(POSTHOG_ETL_DISABLED_STREAMS="")

    result = await every.run("sync", *STREAMS, "--debug")

    assert result.code == 3
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.rejects") == 3
    everywhere = await dump(dsn) + result.out + result.err
    assert [secret for secret in SECRETS if secret in everywhere] == []
    (row,) = await select(dsn, "SELECT extra FROM posthog.subscriptions WHERE id = 1")
    delivery = row["extra"]["delivery"]
    assert (delivery["tries"], delivery["on"]) == (3, True)
    assert delivery["urls"][0].startswith("sha256:")
    assert delivery["urls"][0].endswith(f":{len(HOOK)}")

    kept = every.with_settings(POSTHOG_ETL_KEEP_FIELDS="subscriptions.was")
    await kept.run("sync", "subscriptions")
    (row,) = await select(dsn, "SELECT extra FROM posthog.subscriptions WHERE id = 1")
    assert (row["extra"]["was"], row["extra"]["delivery"]) == (HOOK, delivery)


async def test_text_inside_a_json_field_is_a_hash_where_secrets_are(
    adversary: Adversary, command: Command, dsn: str
) -> None:
    """In the column and in rejects. Known names, ids and what a setting admits are kept.

    A user that a stream without secrets shows too is the same from both.
    """
    config = {"model": "small", "webhook_url": HOOK, "deep": [{"token": KEY}], "tries": 3}
    maker = {**user(), "hedgehog_config": {"color": "red", "accessories": ["hat"], "api": KEY}}
    fields = {"ai_config": config, "created_by": maker, "dashboard_export_insights": [1, 2]}
    adversary.subscriptions.rows = [
        subscription(1, **fields),
        subscription(2, **fields, interval="often"),
        subscription(3, created_by=HOOK),
    ]
    adversary.secret_keys.rows = [secret_key("k1", created_by=maker, scopes=7)]
    adversary.insights.rows = [insight(1, created_by=maker, last_modified_by=maker)]
    settings = {"legend": True, "link": TOKEN}
    adversary.shares = {"insights/1": sharing("a", settings=settings)}
    every = command.with_settings(POSTHOG_ETL_DISABLED_STREAMS="")

    # By itself at first: of the streams that show a user, any may be the last to write it.
    alone = await every.run("sync", "insights", "--debug")
    everywhere = await dump(dsn) + alone.out + alone.err
    result = await every.run("sync", *STREAMS, "--debug")

    assert result.code == 3
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.rejects") == 3
    everywhere += await dump(dsn) + result.out + result.err
    assert [secret for secret in SECRETS if secret in everywhere] == []
    (row,) = await select(dsn, "SELECT * FROM posthog.subscriptions WHERE id = 1")
    assert row["dashboard_export_insights"] == [1, 2]
    assert row["ai_config"]["tries"] == 3
    assert row["ai_config"]["webhook_url"].endswith(f":{len(HOOK)}")
    hedgehog = await value(dsn, "SELECT hedgehog_config FROM posthog.users")
    assert (hedgehog["color"], hedgehog["accessories"]) == ("red", ["hat"])
    shown = await value(dsn, "SELECT settings FROM posthog.sharing_configurations")
    assert shown["legend"] is True

    kept = every.with_settings(POSTHOG_ETL_KEEP_FIELDS="subscriptions.ai_config.model")
    await kept.run("sync", "subscriptions")
    found = await value(dsn, "SELECT ai_config FROM posthog.subscriptions WHERE id = 1")
    assert found == {**row["ai_config"], "model": "small"}
