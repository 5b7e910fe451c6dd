"""Settings: their sources, and the messages about wrong ones."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etl.core.budget import CLICKHOUSE, PLANS, RECORDINGS_LIST, Limit
from etl.core.lookback import Lookback
from etl.core.schedule import Schedule
from etl.errors import ConfigurationError
from etl.loaders.address import parse_database_url
from etl.settings import (
    Settings,
    environment_name,
    load_settings,
    nearest,
    read_env_file,
    setting_names,
)
from etl.streams import STREAMS

FIVE_MINUTES = timedelta(minutes=5)
TOKEN = "0123456789abcdefghij"
KEY = "phx_" + "k" * 43
PASSWORD = "hunter2-but-longer"
DATABASE = f"postgresql://etl:{PASSWORD}@db.example.com/warehouse"

EXAMPLE = Path(__file__).parents[2] / "config" / "posthog-etl.example.toml"

Load = Callable[..., Settings]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any of our variables."""
    for name in os.environ:
        if name.upper().startswith("POSTHOG") or name.upper() == "DATABASE_URL":
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def load(environment: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """A function that loads settings from a file, the environment and flags, without a warning."""

    def act(
        file: str | None = None,
        env: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Settings:
        for name, value in (env or {}).items():
            environment.setenv(name, value)
        path = None
        if file is not None:
            path = tmp_path / "etl.toml"
            path.write_text(file, encoding="utf-8")
        settings, warnings = load_settings(path, flags)
        assert warnings == []
        return settings

    return act


# --- where a value comes from -----------------------------------------------------------------

EVERYWHERE = [
    ("plan", "POSTHOG_ETL_PLAN", ["free", "paid", "enterprise", "unlimited"]),
    ("host", "POSTHOG_HOST", [f"https://{n}.example.com" for n in ("", "file", "env", "flag")]),
    ("schema_name", "POSTHOG_ETL_SCHEMA", ["posthog", "from_file", "from_env", "from_flag"]),
    ("project_id", "POSTHOG_PROJECT_ID", ["@current", "1", "2", "3"]),
]


@pytest.mark.parametrize(("name", "variable", "values"), EVERYWHERE)
def test_flags_beat_the_environment_which_beats_the_file(
    load: Load, name: str, variable: str, values: list[str]
) -> None:
    """Each source overrides the weaker ones, also if it uses another name."""
    _, in_file, in_environment, in_flags = values
    file = f'{"schema" if name == "schema_name" else name} = "{in_file}"'
    assert getattr(load(file), name) == in_file
    assert getattr(load(file, {variable: in_environment}), name) == in_environment
    assert getattr(load(file, flags={name: in_flags}), name) == in_flags
    assert getattr(load(None), name) == in_environment


def test_without_anything_set_the_defaults_hold(load: Load) -> None:
    """They are the documented defaults."""
    settings = load()
    assert settings.host == "https://us.posthog.com"
    assert settings.projects == ("@current",)
    assert settings.schema_name == "posthog"
    assert settings.start == datetime(2020, 1, 1, tzinfo=UTC)
    assert settings.grades == Lookback.parse("26h, 7d every 6h, 30d every 1d")
    assert settings.limits == PLANS["free"]
    assert (settings.api_key, settings.database_url) == (None, None)


def test_verification_is_at_night_unless_it_is_switched_off(load: Load) -> None:
    """It follows the time zone of the schedules."""
    nightly = load('time_zone = "Europe/Berlin"').verification
    assert nightly is not None
    assert (nightly.cron, nightly.time_zone) == ("30 3 * * *", "Europe/Berlin")
    assert load('verify_schedule = "off"').verification is None
    assert load('verify_schedule = ""').verification is None


def test_an_empty_variable_is_not_set(load: Load) -> None:
    """Compose files and CI set variables to an empty text when they mean none."""
    settings = load('plan = "paid"', {"POSTHOG_ETL_PLAN": "", "DATABASE_URL": ""})
    assert (settings.plan, settings.database_url) == ("paid", None)


def test_a_flag_that_was_not_given_overrules_nothing(load: Load) -> None:
    """None means that the flag was not given."""
    assert load('plan = "paid"', flags={"plan": None}).plan == "paid"


@pytest.mark.parametrize(
    "name", ["HOST", "API_KEY", "API_KEY_FILE", "PROJECT_ID", "SCHEMA", "PLAN", "POSTHOG_ETL_HOST"]
)
def test_variables_of_others_are_not_read(environment: pytest.MonkeyPatch, name: str) -> None:
    """Shells set HOST and clouds set PROJECT_ID, with other meanings."""
    environment.setenv(name, "https://elsewhere.example.com")
    settings, _ = load_settings()
    assert settings.plan == "free"
    assert settings.host == "https://us.posthog.com"
    assert (settings.api_key, settings.project_id) == (None, "@current")


def test_a_stray_env_file_is_not_read(
    load: Load, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It belongs to another program in that directory."""
    (tmp_path / ".env").write_text("POSTHOG_HOST=https://elsewhere.example.com\n")
    environment.chdir(tmp_path)
    assert load().host == "https://us.posthog.com"


# --- names ------------------------------------------------------------------------------------


def test_a_named_env_file_gives_its_variables_as_they_are(tmp_path: Path) -> None:
    """With export, quotes and comments; a $ begins no name."""
    path = tmp_path / "etl.env"
    path.write_text(
        "# the database\n\nexport DATABASE_URL='postgresql://u:p&$w@db/copy?a=b'  # with quotes\n"
        'POSTHOG_ETL_LOOKBACK="26h, 7d every 6h"\nPOSTHOG_PROJECT_ID=1,2\nEMPTY=\n'
    )
    assert read_env_file(path) == {
        "DATABASE_URL": "postgresql://u:p&$w@db/copy?a=b",
        "POSTHOG_ETL_LOOKBACK": "26h, 7d every 6h",
        "POSTHOG_PROJECT_ID": "1,2",
        "EMPTY": "",
    }


@pytest.mark.parametrize("line", ["two words", "KEY='open", "KEY", "='x'"])
def test_an_env_file_that_cannot_be_read_is_told_by_its_line(tmp_path: Path, line: str) -> None:
    """Without the line itself, which may hold a secret."""
    path = tmp_path / "etl.env"
    path.write_text(f"A=1\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"etl\.env line 2 is not NAME=value") as caught:
        read_env_file(path)
    assert line not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("shcema", "schema"), ("page_size", "page_size_records"), ("databaseurl", "database_url")],
)
def test_an_unknown_name_in_a_file_is_an_error_with_the_nearest_name(
    load: Load, written: str, meant: str
) -> None:
    """And the file is named."""
    with pytest.raises(ConfigurationError, match=f"etl.toml.*'{written}'.*did you mean {meant}"):
        load(f'{written} = "x"')


def test_an_unknown_variable_of_ours_is_a_warning(environment: pytest.MonkeyPatch) -> None:
    """It is not an error, because platforms add variables. The value is not shown."""
    environment.setenv("POSTHOG_ETL_PAGESIZE_RECORDS", KEY)
    environment.setenv("POSTHOG_ETL_SERVICE_PORT_HTTP", "1")
    environment.setenv("POSTHOG_SOMETHING", "1")
    _, warnings = load_settings()
    assert len(warnings) == 2
    assert "did you mean POSTHOG_ETL_PAGE_SIZE_RECORDS" in warnings[0]
    assert KEY not in " ".join(warnings)


def test_every_setting_has_an_environment_variable_and_a_description() -> None:
    """The reference page is made from them."""
    assert environment_name("schema") == "POSTHOG_ETL_SCHEMA"
    assert environment_name("database_url") == "DATABASE_URL"
    assert environment_name("lease_s") == "POSTHOG_ETL_LEASE_S"
    assert "schema_name" not in setting_names()
    assert all(info.description for info in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sesion", "session_recordings"),
        ("recordings", "session_recordings"),
        ("insight", "insights"),
        ("sesion_recording", "session_recordings"),
        ("subscriptoins", "subscriptions"),
        ("sharing", "recording_sharing"),
    ],
)
def test_a_stream_is_found_by_a_part_of_its_name_also_if_it_is_misspelt(
    typed: str, meant: str
) -> None:
    """A word is enough."""
    assert nearest(typed, STREAMS) == f" (did you mean {meant}?)"


@pytest.mark.parametrize(
    ("written", "meant"), [("query", "queries"), ("schedule", "schedules"), ("querys", "queries")]
)
def test_a_list_of_tables_under_a_wrong_name_gets_the_right_one(
    load: Load, written: str, meant: str
) -> None:
    """Also where the singular is another setting."""
    said = rf"there is no \[\[{written}\]\] \(did you mean \[\[{meant}\]\]\?\)\. Write \[\["
    with pytest.raises(ConfigurationError, match=said):
        load(f'[[{written}]]\nname = "x"\n')


def test_nothing_is_suggested_when_nothing_is_near() -> None:
    """A wild guess does not help."""
    assert nearest("zzzz", ["schema"]) == ""


# --- the file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plan = ", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"[posthog]\nplan = 'paid'", "there is no setting 'posthog'"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: bytes, message: str
) -> None:
    """One line, no traceback."""
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"broken.toml.*{message}"):
        load_settings(path)


def test_a_file_that_is_not_there_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing file is not an empty file."""
    with pytest.raises(ConfigurationError, match=r"none\.toml cannot be read"):
        load_settings(tmp_path / "none.toml")


# --- values -----------------------------------------------------------------------------------

WRONG = [
    ("POSTHOG_HOST", "https://us.i.posthog.com", r"ingestion host.*https://us\.posthog\.com"),
    ("POSTHOG_HOST", "https://eu.i.posthog.com", r"ingestion host.*https://eu\.posthog\.com"),
    ("POSTHOG_HOST", "https://us.posthog.com/project/3", "only the host is wanted: https://us"),
    ("POSTHOG_HOST", "https://us.posthog.com/?next=/", "only the host"),
    ("POSTHOG_HOST", "us.posthog.com", "must begin with https://"),
    ("POSTHOG_HOST", "ftp://us.posthog.com", "must begin with https://"),
    ("POSTHOG_HOST", "https://[::1", "is no address"),
    ("POSTHOG_PROJECT_ID", "My Project", "is not a project id.*the number in the project's"),
    ("POSTHOG_PROJECT_ID", "1,", "is not a project id"),
    ("POSTHOG_PROJECT_ID", "-1", "is not a project id"),
    ("POSTHOG_PROJECT_ID", "٣", "is not a project id"),
    ("POSTHOG_PERSONAL_API_KEY", "phc_abc", r"project token \(phc_…\).*personal API key \(phx_…\)"),
    ("POSTHOG_PERSONAL_API_KEY", "phx_a b", "holds characters that no key has"),
    ("POSTHOG_PERSONAL_API_KEY", "phx_a\nb", "holds characters that no key has"),
    ("POSTHOG_PERSONAL_API_KEY", "phx_é", "holds characters that no key has"),
    ("POSTHOG_PERSONAL_API_KEY", "   ", "holds no key"),
    ("POSTHOG_ETL_SCHEMA", "pg_mine", "may not begin with pg_"),
    ("POSTHOG_ETL_SCHEMA", "mine_etl", "may not end in _etl or _queries"),
    ("POSTHOG_ETL_SCHEMA", "mine_queries", "may not end in _etl or _queries"),
    ("POSTHOG_ETL_SCHEMA", "x" * 51, "1 to 50 bytes"),
    ("POSTHOG_ETL_SCHEMA", "é" * 26, "1 to 50 bytes"),
    ("POSTHOG_ETL_START", "yesterday", "'yesterday' is not a date; write 2026-01-31"),
    ("POSTHOG_ETL_START", "0001-01-01", "1970 or later"),
    ("POSTHOG_ETL_DISABLED_STREAMS", "sesion_recordings", "did you mean session_recordings"),
    ("POSTHOG_ETL_PLAN", "gold", "'free', 'paid', 'enterprise' or 'unlimited'"),
    ("POSTHOG_ETL_PAGE_SIZE_RECORDS", "many", "valid integer"),
    ("POSTHOG_ETL_PAGE_SIZE_RECORDS", "0", "greater than or equal to 1"),
    ("POSTHOG_ETL_LOOKBACK", "72", "is not a grade"),
    ("POSTHOG_ETL_LOOKBACK", "1d every 6h", "the first grade is read at every sync"),
    ("POSTHOG_ETL_LOOKBACK", "7d, 1d every 6h", "each grade must be older"),
    ("POSTHOG_ETL_LOOKBACK", "7d, 30d every 6h, 60d every 1h", "read less often"),
    ("POSTHOG_ETL_LOOKBACK", "26h, 999999w every 1d", "ten years"),
    ("POSTHOG_ETL_DELETION_GUARD_SHARE", "nan", "finite number"),
    ("POSTHOG_ETL_DELETION_GUARD_SHARE", "20", "less than or equal to 1"),
    ("POSTHOG_ETL_LEASE_S", "nan", "finite number"),
    ("POSTHOG_ETL_SCHEDULE", "61 * * * *", "bad minute"),
    ("POSTHOG_ETL_SCHEDULE", "hourly", "wrong number of fields"),
    ("POSTHOG_ETL_TIME_ZONE", "Europe/Berlim", "did you mean Europe/Berlin"),
    ("POSTHOG_ETL_JITTER", "5", "is not a delay; write for example 90s"),
    ("POSTHOG_ETL_JITTER", "1h", "shorter than the 0:15:00 between two ticks"),
    ("POSTHOG_ETL_SCHEDULES", "hourly", r"must be a list in JSON, or \[\[schedules\]\]"),
    ("POSTHOG_ETL_SCHEDULES", "{}", r"write \[\[schedules\]\] above each"),
    ("POSTHOG_ETL_SERVE_PORT", "70000", "less than or equal to 65535"),
    ("POSTHOG_ETL_SERVE_TOKEN", "short", "must be 16 or more plain characters"),
    ("POSTHOG_ETL_KEEP_RUNS", "90", "is not a duration"),
]


@pytest.mark.parametrize(("variable", "value", "message"), WRONG)
def test_a_wrong_value_gets_a_sentence_that_names_the_variable(
    load: Load, variable: str, value: str, message: str
) -> None:
    """And says what to write instead."""
    with pytest.raises(ConfigurationError, match=f"{variable} .*{message}") as caught:
        load(env={variable: value})
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "variable"),
    [
        ("host = 5", "POSTHOG_HOST"),
        ("api_key = 5", "POSTHOG_PERSONAL_API_KEY"),
        ("disabled_streams = 5", "POSTHOG_ETL_DISABLED_STREAMS"),
        ("disabled_streams = [5]", "POSTHOG_ETL_DISABLED_STREAMS"),
        ("start = 12:00:00", "POSTHOG_ETL_START"),
        ("plan = []", "POSTHOG_ETL_PLAN"),
        ('schema = "pg_mine"', "POSTHOG_ETL_SCHEMA"),
    ],
)
def test_a_wrong_type_in_a_file_is_told_as_any_other_mistake(
    load: Load, line: str, variable: str
) -> None:
    """No traceback."""
    with pytest.raises(ConfigurationError, match=variable):
        load(line)


def test_all_mistakes_are_told_at_once(load: Load) -> None:
    """So that users need not correct them one by one."""
    with pytest.raises(ConfigurationError) as caught:
        load(env={"POSTHOG_ETL_PLAN": "gold", "POSTHOG_PROJECT_ID": "mine", "POSTHOG_HOST": "x"})
    for variable in ("POSTHOG_ETL_PLAN", "POSTHOG_PROJECT_ID", "POSTHOG_HOST"):
        assert variable in str(caught.value)


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("https://eu.posthog.com/", "https://eu.posthog.com"),
        (" https://eu.posthog.com ", "https://eu.posthog.com"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("https://PostHog.Example.com", "https://posthog.example.com"),
    ],
)
def test_a_host_is_brought_into_one_form(load: Load, given: str, host: str) -> None:
    """Only the origin is kept."""
    assert load(env={"POSTHOG_HOST": given}).host == host


def test_projects_are_read_once_each_in_their_order(load: Load) -> None:
    """Blanks around commas are ignored."""
    assert load(env={"POSTHOG_PROJECT_ID": " 3, 1,3 ,@current"}).projects == ("3", "1", "@current")


@pytest.mark.parametrize("name", ["posthog", "Mein Schema", 'with"quote', "схема", "x" * 50])
def test_a_schema_may_have_any_name_that_leaves_room_for_the_suffixes(
    load: Load, name: str
) -> None:
    """Names that need quotes work too."""
    assert load(env={"POSTHOG_ETL_SCHEMA": name}).schema_name == name


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (" 2026-01-31T12:00:00+02:00 ", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_an_instant_without_a_zone_is_utc(load: Load, text: str, at: datetime) -> None:
    """In the environment and in a file."""
    assert load(f'start = "{text}"').start == at
    assert load(env={"POSTHOG_ETL_START": text}).start == at


def test_a_date_of_tomls_own_is_a_start_too(load: Load) -> None:
    """Without quotes, as in TOML."""
    assert load("start = 2026-01-31").start == datetime(2026, 1, 31, tzinfo=UTC)
    assert load("start = 2026-01-31T12:00:00Z").start == datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_streams_are_switched_off_by_name(load: Load) -> None:
    """As a list in the file, with commas in the environment."""
    assert load('disabled_streams = ["session_recordings"]').disabled_streams == (
        "session_recordings",
    )
    env = {"POSTHOG_ETL_DISABLED_STREAMS": " session_recordings "}
    assert load(env=env).disabled_streams == ("session_recordings",)


def test_limits_of_ones_own_replace_those_of_the_plan(load: Load) -> None:
    """Only limits of the recordings list with the same window."""
    settings = load(env={"POSTHOG_ETL_LIST_REQUESTS_PER_HOUR": "30"})
    assert set(settings.limits[RECORDINGS_LIST]) == {Limit(12, 60), Limit(30, 3600)}
    assert settings.limits[CLICKHOUSE] == PLANS["free"][CLICKHOUSE]
    settings = load(
        env={"POSTHOG_ETL_PLAN": "unlimited", "POSTHOG_ETL_LIST_REQUESTS_PER_HOUR": "5"}
    )
    assert settings.limits == {RECORDINGS_LIST: (Limit(5, 3600),)}


# --- schedules --------------------------------------------------------------------------------

NIGHTLY = """
[[schedules]]
name = "nightly"
cron = "30 3 * * *"
streams = ["insights", "group_activity"]
time_zone = "Europe/Berlin"
jitter = "5m"
"""


def test_without_a_list_there_is_one_schedule_for_all_streams(load: Load) -> None:
    """Every quarter of an hour; the simple settings change it."""
    assert load().schedules == (Schedule("all", "*/15 * * * *"),)
    env = {"SCHEDULE": "@hourly", "TIME_ZONE": "Asia/Kathmandu", "JITTER": "90s"}
    (only,) = load(env={f"POSTHOG_ETL_{name}": text for name, text in env.items()}).schedules
    assert only == Schedule("all", "0 * * * *", (), "Asia/Kathmandu", timedelta(seconds=90))


def test_schedules_come_from_the_file_or_as_json_from_the_environment(load: Load) -> None:
    """Common fields need not be repeated."""
    settings = load(
        'time_zone = "Asia/Tokyo"\n'
        + NIGHTLY
        + NIGHTLY.split("time_zone")[0].replace("nightly", "second")
    )
    nightly, second = settings.schedules
    assert nightly == Schedule(
        "nightly", "30 3 * * *", ("insights", "group_activity"), "Europe/Berlin", FIVE_MINUTES
    )
    assert (second.name, second.time_zone, second.jitter) == ("second", "Asia/Tokyo", timedelta())
    written = '[{"name": "nightly", "cron": "30 3 * * *"}]'
    assert load(env={"POSTHOG_ETL_SCHEDULES": written}).schedules == (
        Schedule("nightly", "30 3 * * *", time_zone="UTC"),
    )


def test_a_schedule_is_for_the_streams_it_names_and_none_is_for_all_that_are_on(load: Load) -> None:
    """A stream that is off by default may be named; a disabled stream stays disabled."""
    settings = load('disabled_streams = ["insights"]\n' + NIGHTLY)
    assert [s.name for s in settings.choose(settings.schedules[0].streams)] == ["group_activity"]
    everything = [stream.name for stream in settings.choose(())]
    assert "session_recordings" in everything
    assert {"insights", "group_activity"}.isdisjoint(everything)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"insights"', '"insigths"', "'nightly': there is no stream 'insigths'.*mean insights"),
        ("cron", "corn", "'nightly': there is no 'corn' in it.*did you mean cron"),
        ("30 3", "30 25", "'nightly': '30 25 .*bad hour"),
        ("Berlin", "Berlim", "'nightly': 'Europe/Berlim'.*did you mean Europe/Berlin"),
        ('"5m"', '"5d"', "'nightly': '5d' is not a delay"),
        ('"5m"', "5", "'nightly': jitter must be text"),
        ('"nightly"', "5", "each needs a name"),
        ('"nightly"', '":prune"', "each needs a name"),
        ('"nightly"', '"at night"', "not a schedule name"),
        ('streams = ["insights", "group_activity"]', 'streams = "insights"', "must be a list"),
        ('cron = "30 3 * * *"', "", "it needs a cron expression"),
        ("[[schedules]]", "[schedules]", "above each of them"),
        ("[[schedules]]", 'schedule = "@daily"\n[[schedules]]', "are both set"),
        ("[[schedules]]", f"{NIGHTLY}\n[[schedules]]", "there are two schedules 'nightly'"),
        (
            "[[schedules]]",
            'disabled_streams = ["insights", "group_activity"]\n[[schedules]]',
            "'nightly' names only streams that",
        ),
    ],
)
def test_a_wrong_schedule_is_told_at_once(load: Load, old: str, new: str, message: str) -> None:
    """In one line with the schedule's name and the nearest right name."""
    assert old in NIGHTLY
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(NIGHTLY.replace(old, new))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_this_machine_alone_needs_no_token(load: Load, host: str) -> None:
    """Every user of this machine may read the page."""
    assert load(env={"POSTHOG_ETL_SERVE_HOST": host}).require_serve_token() is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "etl.example.com", ""])
def test_others_need_a_token(load: Load, tmp_path: Path, host: str) -> None:
    """As a setting or in a file; the setting wins."""
    if host:
        settings = load(env={"POSTHOG_ETL_SERVE_HOST": host})
        with pytest.raises(ConfigurationError, match=f"SERVE_HOST {host} can be .*SERVE_TOKEN"):
            settings.require_serve_token()
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    in_file = {"POSTHOG_ETL_SERVE_HOST": host, "POSTHOG_ETL_SERVE_TOKEN_FILE": str(path)}
    assert load(env=in_file).require_serve_token() == TOKEN
    assert (
        load(env={**in_file, "POSTHOG_ETL_SERVE_TOKEN": TOKEN[::-1]}).require_serve_token()
        == (TOKEN[::-1])
    )


# --- secrets ----------------------------------------------------------------------------------


def test_a_key_is_read_from_a_file(load: Load, tmp_path: Path) -> None:
    """As secrets are mounted. The line end is removed. A key in its own setting wins."""
    path = tmp_path / "key"
    path.write_text(f"  {KEY}\n")
    assert load(env={"POSTHOG_PERSONAL_API_KEY_FILE": str(path)}).require_source() == KEY
    assert load(env={"POSTHOG_PERSONAL_API_KEY": "phx_other"}).require_source() == "phx_other"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"phc_token", "is a project token"),
        (b"\n", "holds no key"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_key_file_without_a_key_is_named(
    load: Load, tmp_path: Path, content: bytes | None, message: str
) -> None:
    """The message names the variable of the file."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"POSTHOG_PERSONAL_API_KEY_FILE {message}"):
        load(env={"POSTHOG_PERSONAL_API_KEY_FILE": str(path)})


def test_no_secret_shows_in_any_form_of_the_settings(load: Load) -> None:
    """If they are logged by mistake, no secret shows."""
    settings = load(env={"POSTHOG_PERSONAL_API_KEY": KEY, "DATABASE_URL": DATABASE})
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert KEY not in shown
    assert PASSWORD not in shown
    assert settings.secret_texts == (KEY, DATABASE, *[None] * 6)
    assert (settings.require_source(), settings.require_database()) == (KEY, DATABASE)


@pytest.mark.parametrize("wrong", [variable for variable, _, _ in WRONG])
def test_no_secret_shows_in_a_complaint(load: Load, wrong: str) -> None:
    """Neither if the secret itself is wrong, nor if it is in the wrong setting."""
    env = {"POSTHOG_PERSONAL_API_KEY": KEY, "DATABASE_URL": DATABASE, "POSTHOG_ETL_PLAN": "gold"}
    for misplaced in (f"{KEY} {KEY}", KEY, DATABASE):
        with pytest.raises(ConfigurationError) as caught:
            load(env={**env, wrong: misplaced})
        told = f"{caught.value} {caught.value!r}"
        assert KEY not in told
        assert PASSWORD not in told


def test_what_is_missing_is_named_with_the_choices_there_are(load: Load) -> None:
    """Exit code 2, with both ways to get a database."""
    settings = load()
    with pytest.raises(ConfigurationError, match=r"POSTHOG_PERSONAL_API_KEY is not set.*phx_…"):
        settings.require_source()
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL is not set.*postgresql:.*embedded"):
        settings.require_database()


def test_the_database_password_is_read_from_a_file(load: Load, tmp_path: Path) -> None:
    """Without the line end. It is never shown; a file without a password is named."""
    file = tmp_path / "password"
    file.write_text("p@ss/word\n", encoding="utf-8")
    settings = load(env={"DATABASE_PASSWORD_FILE": str(file)})
    assert settings.database_password is not None
    assert settings.database_password.get_secret_value() == "p@ss/word"
    assert "p@ss/word" in settings.secret_texts
    assert "p@ss" not in repr(settings)
    address = parse_database_url("postgresql://user@host/db")
    assert address.with_password("p@ss/word").url.password == "p@ss/word"
    own = parse_database_url("postgresql://user:own@host/db")
    assert own.with_password("p@ss/word").url.password == "own"
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="DATABASE_PASSWORD_FILE holds no password"):
        load(env={"DATABASE_PASSWORD_FILE": str(file)})


# --- alerts -----------------------------------------------------------------------------------

HOOK = "https://hooks.slack.com/services/T0/B0/secret"
MAIL = {"POSTHOG_ETL_ALERTS_SMTP_HOST": "mail.example.com"}


def test_alerts_have_a_table_of_their_own_in_the_file(load: Load) -> None:
    """Its settings have the same names without their beginning; the environment is stronger."""
    file = f"""
    [alerts]
    webhook_url = "{HOOK}"
    on = ["failed", "stale"]
    stale_after = "2d, insights off, query:events 8d"
    rejects_above = 7
    """
    settings = load(file, {"POSTHOG_ETL_QUERY_PRESETS": "events"})
    rules = settings.alert_rules
    assert settings.tells_alerts
    assert (rules.kinds, rules.rejects_above) == (("failed", "stale"), 7)
    assert rules.stale_after == {
        "": timedelta(days=2),
        "insights": None,
        "query:events": timedelta(days=8),
    }
    assert HOOK not in repr(settings)
    assert {HOOK, "/services/T0/B0/secret"} <= set(settings.secret_texts)
    assert load(file, {"POSTHOG_ETL_ALERTS_ON": "drift"}).alert_rules.kinds == ("drift",)
    assert not load().tells_alerts


@pytest.mark.parametrize(
    ("file", "env", "said"),
    [
        ("alerts = 1", {}, "alerts is not a table. Write [alerts] above its settings"),
        ("[alerts]\nwebhok_url = 1", {}, "there is no 'webhok_url' in [alerts] (did you mean web"),
        ('alerts_on = "drift"\n[alerts]\non = "drift"', {}, "has alerts_on, and on in [alerts]"),
        ('[alerts]\non = ["stail"]', {}, "there is no kind 'stail' (did you mean stale?)"),
        ('[alerts]\nstale_after = "1d insights"', {}, "'insights' is not a duration"),
        ('[alerts]\nstale_after = "insights 1d, sessions 2d"', {}, "there is no stream 'sessions'"),
        ('[alerts]\nstale_after = "query:nothing 1d"', {}, "there is no stream 'query:nothing'"),
        ('[alerts]\nstale_after = "1d, 2d"', {}, "has two durations for all streams"),
        (None, {"POSTHOG_ETL_ALERTS_EMAIL_TO": "nobody"}, "'nobody' is not an address"),
        (None, {"POSTHOG_ETL_ALERTS_EMAIL_TO": "a@b"}, "POSTHOG_ETL_ALERTS_SMTP_HOST is needed"),
        (None, MAIL, "POSTHOG_ETL_ALERTS_EMAIL_TO is needed"),
        (None, {"POSTHOG_ETL_ALERTS_SMTP_USER": "ops"}, "are only of use together"),
        (
            '[alerts]\nemail_to = "a@b"\nsmtp_user = "a"\nsmtp_password = "b"\n'
            'smtp_security = "none"',
            MAIL,
            "POSTHOG_ETL_ALERTS_SMTP_PASSWORD would be sent unencrypted; use starttls or tls",
        ),
        (None, {"POSTHOG_ETL_ALERTS_WEBHOOK_URL_FILE": "/no/such"}, "_URL_FILE cannot be read"),
    ],
)
def test_a_mistake_about_alerts_is_named(
    load: Load, file: str | None, env: Mapping[str, str], said: str
) -> None:
    """With its remedy."""
    with pytest.raises(ConfigurationError) as caught:
        load(file, env)
    assert said in str(caught.value)


def test_the_address_of_a_webhook_and_the_password_for_e_mails_are_read_from_files(
    load: Load, tmp_path: Path
) -> None:
    """Without the line's end."""
    for name, text in (("url", HOOK), ("password", PASSWORD)):
        (tmp_path / name).write_text(f"{text}\n", encoding="utf-8")
    settings = load(
        env={
            **MAIL,
            "POSTHOG_ETL_ALERTS_WEBHOOK_URL_FILE": str(tmp_path / "url"),
            "POSTHOG_ETL_ALERTS_EMAIL_TO": "ops@example.com",
            "POSTHOG_ETL_ALERTS_SMTP_USER": "ops",
            "POSTHOG_ETL_ALERTS_SMTP_PASSWORD_FILE": str(tmp_path / "password"),
        }
    )
    assert {HOOK, PASSWORD} <= set(settings.secret_texts)


def test_the_example_is_a_file_of_settings_also_without_its_comment_signs(
    load: Load, tmp_path: Path
) -> None:
    """What is commented out may be taken in where it stands, all of it."""
    example = EXAMPLE.read_text(encoding="utf-8").replace("/run/secrets", str(tmp_path))
    for name in ("slack-webhook", "smtp-password"):
        (tmp_path / name).write_text("https://example.com/hook", encoding="utf-8")
    settings = load(re.sub(r"^# (?=\w+ = |\[)", "", example, flags=re.MULTILINE))
    assert settings.alerts_email_to == ("ops@example.com",)
    assert settings.query_presets == ("events",)
    assert [each.name for each in settings.queries] == ["signups"]
    assert load(example).start == settings.start
