"""Logs: no event shows a secret, in whatever form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog
from sqlalchemy import make_url

from etl.loaders.address import parse_database_url
from etl.logs import HIDDEN, Redactor, configure_logs

KEY = "phx_" + "k" * 43
# Each has characters that an address, JSON or repr writes differently.
PASSWORDS = ["simple-one", "p@ss/w:rd?#%", "with space+plus", "quo'te\"back\\slash", "Übung-日本"]


@pytest.fixture
def restored() -> Iterator[None]:
    """Put structlog back as it was."""
    yield
    structlog.reset_defaults()


def address(password: str) -> str:
    """A database address as a hosting service shows it."""
    return f"postgresql://etl:{quote(password, safe='')}@db.example.com:5432/warehouse"


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_is_hidden_in_every_form_it_is_shown_in(password: str) -> None:
    """Unchanged, encoded, in an address rendered by SQLAlchemy, in JSON, in a repr."""
    redact = Redactor(KEY, address(password)).text
    rendered = make_url(address(password)).render_as_string(hide_password=False)
    forms = [
        password,
        quote(password),
        quote(password, safe=""),
        quote_plus(password),
        address(password),
        rendered,
        json.dumps({"password": password}),
        repr({"password": password}),
        f"connection to {address(password)!r} failed",
    ]
    for form in forms:
        shown = redact(f"before {form} after")
        assert HIDDEN in shown, form
        assert password not in shown
        assert shown.startswith("before ")
        assert shown.endswith(" after")


@pytest.mark.parametrize(
    ("given", "password"),
    [
        ("postgresql://u:s3cret-word@h/d", "s3cret-word"),
        ("postgres://u:s3cret@word@h:5432/d?sslmode=require", "s3cret@word"),
        ("postgres://u:s3cret/word@h/d", "s3cret/word"),
        ("postgresql://h/d?user=u&password=s3cret-word&sslmode=require", "s3cret-word"),
        ("postgresql://h/d?password=s3cret%2Fword", "s3cret/word"),
        ("host=h user=u password=s3cret-word dbname=d", "s3cret-word"),
        ("host=h password = 's3cret word' dbname=d", "s3cret word"),
        (r"host=h password='it\'s s3cret' dbname=d", "it's s3cret"),
    ],
)
def test_the_password_is_found_in_any_form_of_address(given: str, password: str) -> None:
    """Every form that is accepted as an address is understood here too."""
    parse_database_url(given)
    redact = Redactor(None, given).text
    assert password not in redact(f"refused: {password}")
    assert password not in redact(given)


def test_nothing_is_hidden_when_there_is_no_secret() -> None:
    """A short word is no secret: hiding it would damage half of every line."""
    for redactor in (Redactor(), Redactor("", "embedded"), Redactor(None, "postgres://u:pw@h/d")):
        assert redactor.text("a pw embedded word") == "a pw embedded word"


class _Shows:
    """An object that is not text and shows a secret when it is converted to text."""

    def __str__(self) -> str:
        return f"told {KEY}"


def test_secrets_are_hidden_in_values_of_any_kind_and_depth() -> None:
    """In texts, lists, sets, mappings and their keys, exceptions, paths and anything else."""
    redactor = Redactor(KEY, address("p@ss-word"))
    event: dict[str, Any] = {
        "event": f"request.failed {KEY}",
        "nested": {"list": [KEY, {"deep": (f"Bearer {KEY}",)}], KEY: 1},
        "error": ValueError(f"connecting to {address('p@ss-word')} failed"),
        "set": {KEY},
        "path": Path("/run") / KEY,
        "object": _Shows(),
        "count": 3,
        "rate": 0.5,
        "none": None,
        "yes": True,
    }
    shown = redactor(None, "info", event)
    text = f"{shown}{json.dumps(shown)}"
    assert KEY not in text
    assert "p@ss-word" not in text
    assert "p%40ss-word" not in text
    assert (shown["count"], shown["rate"], shown["none"], shown["yes"]) == (3, 0.5, None, True)


def test_an_event_is_one_json_line_without_secrets(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """If stderr is not a terminal; exception text and stack included."""
    configure_logs(Redactor(KEY, address("p@ss-word")))
    log = structlog.get_logger("etl")
    try:
        raise ValueError(f"{KEY} at {address('p@ss-word')}")
    except ValueError as exc:
        log.exception("run.broke", error=exc, path="/api")
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["path"]) == ("run.broke", "error", "/api")
    assert "ValueError" in event["exception"]
    assert HIDDEN in event["exception"]
    for secret in (KEY, "p@ss-word", "p%40ss-word"):
        assert secret not in line


def test_debug_events_are_shown_only_when_asked_for(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Configuring again changes the level."""
    log = structlog.get_logger("etl")
    configure_logs(Redactor())
    log.debug("page.fetched")
    assert capsys.readouterr().err == ""
    configure_logs(Redactor(), "debug")
    log.debug("page.fetched")
    assert "page.fetched" in capsys.readouterr().err


def test_context_goes_with_every_event_and_is_redacted_too(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run binds its unit once."""
    configure_logs(Redactor(KEY))
    with structlog.contextvars.bound_contextvars(stream="s", note=KEY):
        structlog.get_logger("etl").info("run.started")
    event = json.loads(capsys.readouterr().err)
    assert (event["stream"], event["note"]) == ("s", HIDDEN)


def test_a_request_id_goes_with_what_is_said_of_the_request_and_no_further(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The id stays bound after the answer, but a run that starts then must not show it."""
    configure_logs(Redactor())
    log = structlog.get_logger("etl")
    with structlog.contextvars.bound_contextvars(request_id="0a1b2c3d"):
        log.warning("page.unreadable")
        log.info("run.started")
    about, other = map(json.loads, capsys.readouterr().err.splitlines())
    assert about["request_id"] == "0a1b2c3d"
    assert "request_id" not in other
