"""Alerts as those who get them see them: from the real command, by real HTTP and real SMTP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from etl.alerting import tell_once
from etl.sandbox.server import RunningSandbox
from etl.service.serve import serve
from etl.settings import Settings
from tests.support.books import until
from tests.support.channels import PASSWORD, PATH, USER, Hook, mail_server, webhook
from tests.support.clock import JumpingClock
from tests.support.command import DATA_DIR, Command, finish
from tests.support.guarded import free_port, make_certificate
from tests.support.serving import Serving, serving
from tests.support.sql import select, value

FAILED = ("began", "failed", "session_recordings")
OVER = ("ended", "failed", "session_recordings")
WRONG_KEY = {"POSTHOG_PERSONAL_API_KEY": "phx_wrong"}
HOOK = "POSTHOG_ETL_ALERTS_WEBHOOK_URL"


@pytest_asyncio.fixture
async def hook() -> AsyncIterator[Hook]:
    """A webhook."""
    async with webhook() as found:
        yield found


@pytest.fixture
def told(command: Command, hook: Hook) -> Command:
    """The command, with alerts to the webhook."""
    return command.with_settings(**{HOOK: hook.url})


# --- told once --------------------------------------------------------------------------------


async def test_a_failure_is_told_once_when_it_begins_and_once_when_it_ends(
    told: Command, hook: Hook
) -> None:
    """However often the command fails meanwhile; the list shows what is open."""
    wrong = told.with_settings(**WRONG_KEY)
    for _ in range(2):
        assert (await wrong.run("sync")).code == 5
        assert hook.lines == [FAILED]
    listed = (await told.run("alerts", "list", "--json")).document["alerts"]
    assert [(row["kind"], row["told"]) for row in listed] == [("failed", ["webhook"])]
    shown = (await told.run("alerts")).out
    assert "failed: session_recordings, project 1: PostHog refuses the key; set another. " in shown
    for _ in range(2):
        assert (await told.run("sync")).code == 0
        assert hook.lines == [FAILED, OVER]
    assert (await told.run("alerts")).out == "No alert is open.\n"
    assert hook.bodies[0]["text"].splitlines() == [
        "posthog-etl (127.0.0.1): 1 alert",
        "failed: session_recordings, project 1: PostHog refuses the key; set another. "
        "To try again: `posthog-etl sync session_recordings`",
    ]


async def test_rejects_differences_and_drift_are_told_by_the_command_that_finds_them(
    told: Command, hook: Hook, sandbox: RunningSandbox, dsn: str
) -> None:
    """`verify` tells what differs, and then that it was repaired; `sync` the others."""
    await told.run("sync")
    await select(
        dsn,
        "DELETE FROM posthog.session_recordings WHERE id = "
        "(SELECT min(id) FROM posthog.session_recordings)",
    )
    assert (await told.run("verify")).code == 3
    assert hook.lines == [("began", "differences", "session_recordings")]
    assert (await told.run("verify", "--repair")).code == 0
    assert hook.lines[1:] == [("ended", "differences", "session_recordings")]
    await select(
        dsn,
        "INSERT INTO posthog_etl.drift VALUES (1, 'session_recordings', 'session_recordings', "
        "'new', NULL, 'string', now())",
    )
    await select(
        dsn,
        "INSERT INTO posthog_etl.rejects (project_id, stream, record_key, reason, first_seen_at, "
        "last_seen_at) VALUES (1, 'session_recordings', 'somebody', 'odd', now(), now())",
    )
    await told.run("sync")
    assert sorted(hook.lines[2:]) == [
        ("began", "drift", "session_recordings"),
        ("began", "rejects", "session_recordings"),
    ]
    assert "somebody" not in str(hook.bodies)


async def test_several_processes_at_once_tell_once(
    told: Command, hook: Hook, sandbox: RunningSandbox, dsn: str
) -> None:
    """Four evaluate at the same moment, with connections of their own."""
    await told.with_settings(**WRONG_KEY, **{HOOK: ""}).run("sync")
    settings = settings_of(sandbox, dsn, alerts_webhook_url=hook.url)
    with capture_logs():
        await asyncio.gather(*(tell_once(settings) for _ in range(4)))
    assert hook.lines == [FAILED]


async def test_one_that_dies_between_telling_and_noting_is_followed_by_one_that_says_so(
    told: Command, hook: Hook, dsn: str
) -> None:
    """Twice, and the second text says that it may be a repetition."""
    hook.held = asyncio.Event()
    process = await told.with_settings(**WRONG_KEY).start("sync")

    async def taken() -> bool:
        return bool(hook.bodies)

    await until(taken, "the webhook is told")
    process.kill()
    assert (await finish(process)).code == -signal.SIGKILL
    hook.held.set()
    hook.held = None
    # Until nobody can doubt that it is dead, the others leave the message to it.
    await told.with_settings(**WRONG_KEY).run("sync")
    assert hook.lines == [FAILED]
    await select(dsn, "UPDATE posthog_etl.alert_messages SET expires_at = now() - interval '1 s'")
    await told.with_settings(**WRONG_KEY).run("sync")
    assert hook.lines == [FAILED, FAILED]
    first, second = (body["alerts"][0] for body in hook.bodies)
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert first["id"] == second["id"]
    assert hook.bodies[1]["text"].endswith("(this may be a repetition)")
    await told.with_settings(**WRONG_KEY).run("sync")
    assert len(hook.bodies) == 2


# --- a broken channel -------------------------------------------------------------------------


async def test_a_broken_channel_fails_no_run_and_is_told_later(command: Command) -> None:
    """The other channel is told at once, and only once."""
    port = free_port()
    async with mail_server() as mail:
        both = command.with_settings(
            **{HOOK: f"http://127.0.0.1:{port}{PATH}"},
            POSTHOG_ETL_ALERTS_EMAIL_TO="ops@example.com, data@example.com",
            POSTHOG_ETL_ALERTS_SMTP_HOST="127.0.0.1",
            POSTHOG_ETL_ALERTS_SMTP_PORT=str(mail.port),
            POSTHOG_ETL_ALERTS_SMTP_SECURITY="none",
        )
        result = await both.with_settings(**WRONG_KEY).run("sync")
        assert result.code == 5
        (event,) = [each for each in result.events if each["event"] == "alerts.untold"]
        assert (event["level"], event["channel"]) == ("warning", "webhook")
        assert event["reason"] == (
            "127.0.0.1 cannot be reached: Connection refused. "
            "Check the address of the webhook and the network"
        )
        assert PATH not in result.err
        result = await both.run("sync")
        assert result.code == 0
        async with webhook(port) as hook:
            assert (await both.run("sync")).code == 0
            assert hook.lines == [FAILED, OVER]
            assert not any(each["repeated"] for body in hook.bodies for each in body["alerts"])
        subjects = [str(mail["Subject"]) for mail in mail.taken]
        assert mail.recipients == [["ops@example.com", "data@example.com"]] * 2
    assert subjects == [
        "posthog-etl (127.0.0.1): 1 alert",
        "posthog-etl (127.0.0.1): 1 alert over",
    ]


async def test_a_channel_that_may_have_taken_a_message_is_told_again_with_these_words(
    told: Command, hook: Hook
) -> None:
    """An error of a proxy may hide that the message arrived; one that is refused did not."""
    for status, repeated in ((503, True), (404, False)):
        hook.status, hook.bodies = status, []
        await told.with_settings(**WRONG_KEY).run("sync")
        hook.status = 200
        await told.with_settings(**WRONG_KEY).run("sync")
        (body,) = hook.bodies
        assert body["alerts"][0]["repeated"] is repeated
        await told.run("sync")


async def test_a_mail_server_that_breaks_off_is_told_again_with_these_words(
    command: Command,
) -> None:
    """It may have taken the e-mail, as it did here, and died before it could say so."""
    async with mail_server() as mail:
        told = command.with_settings(
            **WRONG_KEY,
            POSTHOG_ETL_ALERTS_EMAIL_TO="ops@example.com",
            POSTHOG_ETL_ALERTS_SMTP_HOST="127.0.0.1",
            POSTHOG_ETL_ALERTS_SMTP_PORT=str(mail.port),
            POSTHOG_ETL_ALERTS_SMTP_SECURITY="none",
        )
        mail.dies = True
        assert (await told.run("sync")).code == 5
        mail.dies = False
        for _ in range(2):
            await told.run("sync")
        first, second = (str(mail.get_content()) for mail in mail.taken)
    assert "failed: session_recordings, project 1: " in first
    assert "(this may be a repetition)" not in first
    assert second.split() == [*first.split(), "(this", "may", "be", "a", "repetition)"]


# --- alerts test ------------------------------------------------------------------------------


async def test_every_channel_gets_a_test_message_and_each_is_said_how_it_went(
    command: Command, hook: Hook, tmp_path: Path
) -> None:
    """By STARTTLS with user and password; secrets from files; no database is needed."""
    certificate = make_certificate(tmp_path)
    for name, secret in (("url", hook.url), ("password", PASSWORD), ("wrong", "another")):
        (tmp_path / name).write_text(f"{secret}\n", encoding="utf-8")
    (tmp_path / "etl.toml").write_text(
        f"""
        [alerts]
        webhook_url_file = "{tmp_path}/url"
        webhook_form = "slack"
        email_to = ["ops@example.com"]
        smtp_host = "127.0.0.1"
        smtp_user = "{USER}"
        """,
        encoding="utf-8",
    )
    async with mail_server(certificate) as mail:
        configured = command.with_settings(
            DATABASE_URL="",
            POSTHOG_ETL_CA_FILE=str(certificate),
            POSTHOG_ETL_ALERTS_SMTP_PORT=str(mail.port),
        )

        async def test(password: str, *more: str) -> Any:
            file = {"POSTHOG_ETL_ALERTS_SMTP_PASSWORD_FILE": str(tmp_path / password)}
            config = ("--config", str(tmp_path / "etl.toml"))
            return await configured.with_settings(**file).run("alerts", "test", *config, *more)

        result = await test("password")
        assert (result.code, result.out) == (0, "webhook: told\nemail: told\n"), result.err
        assert hook.bodies == [
            {"text": "posthog-etl (127.0.0.1): a test message\nThis is a test. Alerts arrive here."}
        ]
        (mail_taken,) = mail.taken
        assert mail_taken["Subject"] == "posthog-etl (127.0.0.1): a test message"
        assert mail_taken["From"] == "ops@example.com"

        hook.status = 404
        result = await test("wrong", "--json")
        assert result.code == 1
        assert result.document["channels"] == [
            {
                "channel": "webhook",
                "told": False,
                "reason": "127.0.0.1 answered 404 said by the hook. "
                "Check the address and the form of the webhook",
            },
            {
                "channel": "email",
                "told": False,
                "reason": f"127.0.0.1:{mail.port} refused user and password (535). "
                "Check the user and the password of the server for e-mails",
            },
        ]


async def test_without_a_channel_the_test_says_what_to_set(command: Command) -> None:
    """In one line; the list says that nothing is evaluated."""
    result = await command.run("alerts", "test")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("posthog-etl: No channel for alerts is configured. Set ")
    listed = (await command.run("alerts", "list")).out
    assert listed == "No channel for alerts is configured, so nothing is evaluated.\n"


async def test_a_recipient_that_is_refused_does_not_keep_the_others_from_being_told(
    command: Command,
) -> None:
    """If all are refused, nobody was told."""
    async with mail_server() as mail:
        mail.refused = {"gone@example.com"}
        both = command.with_settings(
            POSTHOG_ETL_ALERTS_EMAIL_TO="gone@example.com,ops@example.com",
            POSTHOG_ETL_ALERTS_SMTP_HOST="127.0.0.1",
            POSTHOG_ETL_ALERTS_SMTP_PORT=str(mail.port),
            POSTHOG_ETL_ALERTS_SMTP_SECURITY="none",
        )
        result = await both.run("alerts", "test")
        assert (result.code, result.out) == (0, "email: told\n")
        (event,) = result.events
        assert (event["event"], event["count"]) == ("recipient.refused", 1)
        assert mail.recipients == [["ops@example.com"]]
        mail.refused.add("ops@example.com")
        assert (await both.run("alerts", "test")).out == (
            f"email: not told. 127.0.0.1:{mail.port} refused every recipient (550)\n"
        )


async def test_a_mail_server_that_is_not_there_is_told_in_plain_words(command: Command) -> None:
    """Without the number of the error."""
    port = free_port()
    nobody = command.with_settings(
        POSTHOG_ETL_ALERTS_EMAIL_TO="ops@example.com",
        POSTHOG_ETL_ALERTS_SMTP_HOST="127.0.0.1",
        POSTHOG_ETL_ALERTS_SMTP_PORT=str(port),
        POSTHOG_ETL_ALERTS_SMTP_SECURITY="none",
    )
    result = await nobody.run("alerts", "test")
    assert (result.code, result.out) == (
        1,
        f"email: not told. No connection to 127.0.0.1:{port}: Connection refused. "
        "Check host, port and security of the server for e-mails\n",
    )


# --- serve ------------------------------------------------------------------------------------


def settings_of(sandbox: RunningSandbox, dsn: str, **settings: Any) -> Settings:
    """The settings of a service with one stream."""
    chosen = {
        "host": sandbox.url,
        "api_key": "phx_sandbox",
        "project_id": "1",
        "database_url": dsn,
        "plan": "unlimited",
        "data_dir": DATA_DIR,
        "serve_port": 0,
        "verify_schedule": "off",
        "schedules": [{"name": "all", "cron": "*/15 * * * *", "streams": ["session_recordings"]}],
        **settings,
    }
    return Settings(**chosen)


async def test_serve_tells_within_a_minute_what_nobody_ran_a_command_for(
    sandbox: RunningSandbox, dsn: str, hook: Hook
) -> None:
    """It looks each minute, also while no tick is due: here at a stream that has become stale."""
    now = datetime.fromisoformat(sandbox.control.state()["now"])
    clock, stop = JumpingClock(now, 3, sandbox.control.advance), asyncio.Event()
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    settings = settings_of(sandbox, dsn, alerts_webhook_url=hook.url, alerts_on=["stale"])
    stale = "UPDATE posthog_etl.runs SET ended_at = ended_at - interval '2 d'"
    with capture_logs():
        running = asyncio.create_task(
            serve(settings, stop, str, clock=clock, announce=url.set_result)
        )
        try:
            service = Serving(await url)
            await service.ran()
            # Again, if a sync has succeeded before anybody looked; but seldom, as there are many
            # more minutes than syncs.
            for _ in range(3):
                ran = (await service.metrics())["posthog_etl_ticks_total ran all"]
                await select(dsn, stale)
                await service.ran(int(ran) + 2)
                if hook.lines:
                    break

            async def told() -> bool:
                return len(hook.lines) >= 2

            # The next sync succeeds, and so it is over.
            await until(told, "the beginning and the end are told", within_s=20)
        finally:
            stop.set()
            await running
    assert [line[:2] for line in hook.lines[:2]] == [("began", "stale"), ("ended", "stale")]


async def test_every_stream_has_its_freshness_from_the_first_minute(command: Command) -> None:
    """Also those that never succeeded, which the key may not even read."""
    wrong = command.with_settings(
        **WRONG_KEY, POSTHOG_ETL_DISABLED_STREAMS="", POSTHOG_PROJECT_ID="@current"
    )
    async with serving(wrong) as service:
        await service.ran(0)
        found = {
            name: number
            for name, number in (await service.metrics()).items()
            if name.startswith(("posthog_etl_freshness", "posthog_etl_last_success"))
        }
    streams = [stream.name for stream in Settings(project_id="1").scheduled]
    assert {name: number for name, number in found.items() if "freshness" in name} == {
        f"posthog_etl_freshness_seconds @current {stream}": float("inf") for stream in streams
    }
    assert [number for name, number in found.items() if "success" in name] == [0] * len(streams)


async def test_a_worker_tells_what_others_left_behind_and_ends_well(
    told: Command, hook: Hook
) -> None:
    """It evaluates as `serve` does, also while there is nothing to work on."""
    await told.with_settings(**WRONG_KEY, **{HOOK: ""}).run("sync")
    async with told.running("worker") as worker:

        async def is_told() -> bool:
            return bool(hook.bodies)

        await until(is_told, "the worker tells")
        worker.send_signal(signal.SIGTERM)
        assert (await finish(worker)).code == 0
    assert hook.lines == [FAILED]


# --- the log ----------------------------------------------------------------------------------


async def test_a_failed_run_is_an_error_in_the_log_and_a_partial_one_a_warning(
    command: Command, dsn: str
) -> None:
    """And what was at fault is in its row."""
    levels = []
    for settings in (WRONG_KEY, {"POSTHOG_PROJECT_ID": "77"}, {}):
        result = await command.with_settings(**settings).run("sync")
        levels += [each["level"] for each in result.events if each["event"] == "run.finished"]
    assert levels == ["error", "warning", "info"]
    faults = await select(dsn, "SELECT fault FROM posthog_etl.runs ORDER BY started_at")
    assert [row["fault"] for row in faults] == ["key", "unavailable", None]


async def test_a_database_that_cannot_be_asked_fails_no_command(
    told: Command, hook: Hook, empty_dsn: str
) -> None:
    """Nothing is evaluated then; the log says so."""
    result = await told.with_settings(DATABASE_URL=empty_dsn, POSTHOG_ETL_AUTO_MIGRATE="no").run(
        "sync"
    )
    assert result.code == 1
    assert [each["event"] for each in result.events] == ["alerts.unevaluated"]
    assert hook.bodies == []
    assert await value(empty_dsn, "SELECT count(*) FROM pg_tables WHERE tablename = 'alerts'") == 0
