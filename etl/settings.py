"""Files, environment and flags -> one frozen Settings, read once. Secrets hide in its repr.

Weakest first: defaults, the TOML file, the environment, flags.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from yarl import URL

from etl.core.budget import PLANS, RECORDINGS_LIST, Limit, Limits
from etl.core.lookback import Lookback, parse_duration
from etl.core.schedule import Schedule, parse_jitter, read_zone
from etl.core.source import is_own_machine
from etl.core.stream import Stream
from etl.errors import ConfigurationError
from etl.streams import STREAMS

PREFIX = "POSTHOG_ETL_"
# A key, or the user and password of an address, that stands where something else belongs.
_SECRET = re.compile(r"ph[a-z]_[\w-]+|(?<=://)[^\s'\"]*@")
_SHORTEST_TOKEN = 16
_OF_EVERY_SCHEDULE = ("time_zone", "jitter")
_OF_A_SCHEDULE = ("name", "cron", "streams", *_OF_EVERY_SCHEDULE)
INGESTION_HOSTS = ("us.i.posthog.com", "eu.i.posthog.com", "app-static.posthog.com")
_OURS_WITHOUT_PREFIX = {
    "host": "POSTHOG_HOST",
    "api_key": "POSTHOG_PERSONAL_API_KEY",
    "api_key_file": "POSTHOG_PERSONAL_API_KEY_FILE",
    "project_id": "POSTHOG_PROJECT_ID",
    "database_url": "DATABASE_URL",
    "database_password_file": "DATABASE_PASSWORD_FILE",
}


def _named(name: str, default: Any, about: str) -> Any:
    """A setting whose environment name has no prefix of ours."""
    choices = AliasChoices(_OURS_WITHOUT_PREFIX[name], name)
    return Field(default, validation_alias=choices, description=about)


def _default_data_dir() -> Path:
    # The embedded Postgres does not run as root, and nobody else may enter root's home.
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/posthog-etl")
    return Path.home() / ".local" / "share" / "posthog-etl"


class Settings(BaseSettings):
    """Every setting; in the environment POSTHOG_ETL_ stands before the name, but for five."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        enable_decoding=False,
        populate_by_name=True,
        allow_inf_nan=False,
    )

    host: str = _named(
        "host", "https://us.posthog.com", "Address of the PostHog app, not of its ingestion."
    )
    api_key: SecretStr | None = _named("api_key", None, "Personal API key (phx_…).")
    api_key_file: Path | None = _named("api_key_file", None, "A file that holds the key.")
    project_id: str = _named(
        "project_id", "@current", "Project id, several with commas, or @current."
    )
    database_url: SecretStr | None = _named(
        "database_url", None, "Postgres URL, or the word embedded."
    )
    database_password_file: Path | None = _named(
        "database_password_file",
        None,
        "A file that holds the password of the database, for an address that has none.",
    )
    queue_database_url: SecretStr | None = Field(
        None,
        description="Postgres URL for the queue, which a transaction-mode pooler cannot serve. "
        "Default: DATABASE_URL.",
    )
    queue_turn_s: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="A worker's unit gives way to a waiting one of another project after this, "
        "in seconds.",
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Where the embedded Postgres keeps its data, and each run a file that shows "
        "whether it lives.",
    )
    schema_name: str = Field(
        "posthog",
        validation_alias=AliasChoices("POSTHOG_ETL_SCHEMA", "schema"),
        description="Schema of the data tables; the bookkeeping is in the same name with _etl.",
    )
    start: datetime = Field(
        datetime(2020, 1, 1, tzinfo=UTC), description="First load: recordings since this instant."
    )
    lookback: str = Field(
        "26h, 7d every 6h, 30d every 1d",
        description="Which recordings are read again, by age: the first grade at every sync, "
        "older ones more seldom, what is older than the last one never. Units: m, h, d, w.",
    )
    deletion_guard_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="No more than this share of a stream is marked deleted at once.",
    )
    deletion_guard_rows: int = Field(
        20, ge=0, description="So many rows may be marked deleted whatever share they are, a count."
    )
    confirm_requests: int = Field(
        500,
        ge=1,
        description="No more than so many requests a sync ask for single records that a list did "
        "not show, a count; the next sync goes on.",
    )
    disabled_streams: tuple[str, ...] = Field((), description="Streams that are switched off.")
    enabled_streams: tuple[str, ...] = Field(
        (), description="Streams that are off by default and switched on."
    )
    keep_fields: tuple[str, ...] = Field(
        (),
        description="Fields of streams with secrets whose text is kept although the catalogue does "
        "not know them, as TABLE.FIELD with commas, such as subscriptions.new_field or, within a "
        "JSON field, subscriptions.ai_config.model. Of any other unknown text there only a hash "
        "and the length are kept.",
    )
    sharing_requests: int = Field(
        200,
        ge=1,
        le=100_000,
        description="How many recordings, and how many insights, a sync asks about their sharing.",
    )
    sharing_recheck: str = Field(
        "6h",
        description="After what time an unchanged one is asked about again. Units: m, h, d, w.",
    )
    api_prefix: Literal["projects", "environments"] = Field(
        "projects", description="Path prefix of the API; environments is deprecated by PostHog."
    )
    plan: Literal["free", "paid", "enterprise", "unlimited"] = Field(
        "free", description="PostHog plan, for its request limits."
    )
    list_requests_per_minute: int | None = Field(
        None, ge=1, description="Limit of recordings list requests, instead of the plan's."
    )
    list_requests_per_hour: int | None = Field(
        None, ge=1, description="Limit of recordings list requests, instead of the plan's."
    )
    page_size_records: int = Field(1000, ge=1, le=10_000, description="Records a page, a count.")
    buffer_bytes: int = Field(
        4 * 1024 * 1024, ge=1, description="Size of pages fetched ahead of loading, in bytes."
    )
    request_timeout_s: float = Field(90.0, gt=0, description="Longest a request may take, seconds.")
    request_attempts: int = Field(6, ge=1, description="How often a failing request is sent.")
    max_wait_s: float = Field(
        4000.0, ge=0, description="Wait this long for the request budget, in seconds, then pause."
    )
    lease_s: float = Field(
        30.0,
        ge=1,
        le=86_400,
        description="A run that stands still loses its unit after this, in seconds.",
    )
    statement_timeout_s: float = Field(
        120.0, gt=0, le=86_400, description="Longest SQL statement, seconds."
    )
    connection_per_transaction: bool = Field(
        False, description="Open a database connection for every transaction."
    )
    auto_migrate: bool = Field(True, description="Whether sync brings the schema up to date.")
    ca_file: Path | None = Field(None, description="Certificates to trust besides the system's.")
    schedule: str = Field(
        "*/15 * * * *",
        description="When `serve` brings all streams up to date: a cron expression of five fields.",
    )
    time_zone: str = Field(
        "UTC", description="Where the clock hangs that schedules go by: UTC, Europe/Berlin."
    )
    jitter: str = Field(
        "0", description="A tick is late by a random time up to this long. Units: s, m, h."
    )
    schedules: tuple[Schedule, ...] = Field(
        (),
        description="Instead of `schedule`, several: `[[schedules]]` in the file, each with name, "
        "cron, and if you like streams, time_zone, jitter; a JSON list of these in the "
        "environment.",
    )
    serve_host: str = Field("127.0.0.1", description="Address that `serve` listens on.")
    serve_port: int = Field(
        8011, ge=0, le=65_535, description="Port that `serve` listens on; 0 picks a free one."
    )
    serve_token: SecretStr | None = Field(
        None,
        description="Whoever asks `serve` anything but /healthz has to show it. Needed when it "
        "listens on more than this machine.",
    )
    serve_token_file: Path | None = Field(None, description="A file that holds the token.")
    keep_runs: str = Field(
        "90d",
        description="`serve` forgets runs that ended longer ago, but for the latest of each unit. "
        "Units: m, h, d, w.",
    )

    _database_password: SecretStr | None = PrivateAttr(None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags and the file come through `load_settings`; a stray .env is not read."""
        assert isinstance(env_settings, EnvSettingsSource)
        # A HOST or PROJECT_ID in the environment belongs to the platform, not to us.
        ours = {environment_name(name).lower() for name in setting_names()}
        env_settings.env_vars = {
            name: value for name, value in env_settings.env_vars.items() if name.lower() in ours
        }
        return (init_settings, env_settings)

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        try:
            url = URL(value.strip())
        except ValueError as exc:
            raise ValueError(f"is no address: {exc}") from exc
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("must begin with https://, as in https://us.posthog.com")
        if url.host in INGESTION_HOSTS:
            app = f"https://{url.host.split('.')[0]}.posthog.com"
            raise ValueError(f"is PostHog's ingestion host, which has no API. Use {app}")
        if url.path not in ("", "/") or url.query_string:
            raise ValueError(f"has a path; only the host is wanted: {url.origin()}")
        return str(url.origin())

    @field_validator("api_key")
    @classmethod
    def _key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        key = value.get_secret_value().strip()
        if not key:
            raise ValueError("holds no key")
        if key.startswith("phc_"):
            raise ValueError(
                "is a project token (phc_…), which can only send events. Create a personal API "
                "key (phx_…) under Settings, Personal API keys"
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("holds characters that no key has")
        return SecretStr(key)

    @field_validator("project_id")
    @classmethod
    def _projects(cls, value: str) -> str:
        for part in value.split(","):
            name = part.strip()
            if name != "@current" and not re.fullmatch("[0-9]{1,18}", name):
                raise ValueError(
                    f"{name!r} is not a project id. It is the number in the project's settings "
                    "(Settings, Project ID), or @current"
                )
        return value

    @field_validator("lookback")
    @classmethod
    def _lookback(cls, value: str) -> str:
        Lookback.parse(value)
        return value

    @field_validator("start", mode="before")
    @classmethod
    def _start(cls, value: Any) -> Any:
        return value if not isinstance(value, str) else parse_instant(value)

    @field_validator("start")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        at = value if value.tzinfo else value.replace(tzinfo=UTC)
        if at.year < 1970:
            raise ValueError("must be in 1970 or later")
        if at > datetime.now(UTC):
            # Nothing would be loaded, and everything before would count as known.
            raise ValueError("lies in the future; it says since when recordings are loaded")
        return at

    @field_validator("sharing_recheck", "keep_runs")
    @classmethod
    def _duration(cls, value: str) -> str:
        parse_duration(value)
        return value

    @field_validator("disabled_streams", "enabled_streams", mode="before")
    @classmethod
    def _streams(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError("must be a list of stream names")
        return _known_streams(names)

    @field_validator("keep_fields", mode="before")
    @classmethod
    def _kept(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError("must be a list of fields")
        found = [name.strip() for name in names if name.strip()]
        tables = [
            resource.tables[0].name
            for stream in STREAMS.values()
            for resource in stream.resources
            if resource.secrets is not None
        ]
        for name in found:
            table, _, field = name.partition(".")
            if table not in tables or not field:
                hint = (
                    nearest(table, tables) or f": it is one of {', '.join(dict.fromkeys(tables))}"
                )
                raise ValueError(f"{name!r} is not TABLE.FIELD of a table with secrets{hint}")
        return tuple(found)

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        Schedule("all", value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        read_zone(value)
        return value

    @field_validator("jitter")
    @classmethod
    def _jitter(cls, value: str) -> str:
        parse_jitter(value)
        return value

    @field_validator("schedules", mode="before")
    @classmethod
    def _schedules(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise ValueError("must be a list in JSON, or [[schedules]] in the file") from None
        if not isinstance(value, list | tuple):
            raise ValueError("must be a list: write [[schedules]] above each of them")
        common = {name: info.data[name] for name in _OF_EVERY_SCHEDULE if name in info.data}
        found = [each if isinstance(each, Schedule) else _schedule(each, common) for each in value]
        names = [each.name for each in found]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"there are two schedules {name!r}")
        return tuple(found)

    @field_validator("serve_token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        token = value.get_secret_value().strip()
        if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
            raise ValueError(
                f"must be {_SHORTEST_TOKEN} or more plain characters; make one with: "
                "openssl rand -hex 24"
            )
        return SecretStr(token)

    @field_validator("schema_name")
    @classmethod
    def _schema(cls, value: str) -> str:
        if not value or len(value.encode()) > 50 or "\0" in value:
            raise ValueError("must be a name of 1 to 50 bytes")
        if value.startswith("pg_"):
            raise ValueError("may not begin with pg_, which Postgres keeps for itself")
        if value.endswith(("_etl", "_queries")):
            raise ValueError("may not end in _etl or _queries, which are added to other names")
        return value

    @model_validator(mode="after")
    def _secrets_from_files(self) -> Settings:
        for name, check in (("api_key", self._key), ("serve_token", self._token)):
            path = getattr(self, f"{name}_file")
            if getattr(self, name) is None and path is not None:
                variable = environment_name(f"{name}_file")
                text = _secret_in(path, variable)
                try:
                    secret = check(SecretStr(text))
                except ValueError as exc:
                    raise ValueError(f"{variable} {exc}") from exc
                object.__setattr__(self, name, secret)
        if self.database_password_file is not None:
            text = _secret_in(self.database_password_file, "DATABASE_PASSWORD_FILE")
            if not text:
                raise ValueError("DATABASE_PASSWORD_FILE holds no password")
            self._database_password = SecretStr(text)
        return self

    @model_validator(mode="after")
    def _simple_schedule(self) -> Settings:
        """Make one schedule of the simple settings where there is no list of them."""
        if self.schedules:
            if "schedule" in self.model_fields_set:
                raise ValueError(
                    "POSTHOG_ETL_SCHEDULE and schedules are both set, and only one can hold"
                )
            return self
        simple = {"name": "all", "cron": self.schedule}
        common = {name: getattr(self, name) for name in _OF_EVERY_SCHEDULE}
        try:
            object.__setattr__(self, "schedules", (_schedule(simple, common),))
        except ValueError as exc:
            # All the rest of it has been looked at above.
            raise ValueError(str(exc).replace("schedule 'all':", "POSTHOG_ETL_JITTER")) from exc
        return self

    @model_validator(mode="after")
    def _something_to_do(self) -> Settings:
        for each in self.schedules:
            if each.streams and not self.choose(each.streams):
                raise ValueError(
                    f"POSTHOG_ETL_SCHEDULES schedule {each.name!r} names only streams that "
                    "disabled_streams switches off"
                )
        return self

    def choose(self, names: Sequence[str] | None) -> list[Stream]:
        """Return the streams of these names, else all that are on, without those switched off."""
        on = [n for n, stream in STREAMS.items() if not stream.off or n in self.enabled_streams]
        chosen = list(dict.fromkeys(names)) if names else on
        return [STREAMS[name] for name in chosen if name not in self.disabled_streams]

    def require_serve_token(self) -> str | None:
        """Return what must be shown to `serve`, None when it is asked by this machine alone.

        Raises ConfigurationError naming the setting.
        """
        if self.serve_token is not None:
            return self.serve_token.get_secret_value()
        if not is_own_machine(self.serve_host):
            raise ConfigurationError(
                f"POSTHOG_ETL_SERVE_HOST {self.serve_host} can be reached by others",
                remedy="Set POSTHOG_ETL_SERVE_TOKEN or POSTHOG_ETL_SERVE_TOKEN_FILE, or listen on "
                "127.0.0.1",
            )
        return None

    @property
    def grades(self) -> Lookback:
        """The lookback, read."""
        return Lookback.parse(self.lookback)

    @property
    def projects(self) -> tuple[str, ...]:
        """The projects asked for, each once, as text."""
        return tuple(dict.fromkeys(part.strip() for part in self.project_id.split(",")))

    @property
    def limits(self) -> Limits:
        """The request limits: the plan's, unless set otherwise."""
        limits = dict(PLANS[self.plan])
        own = [
            Limit(requests, window_s)
            for requests, window_s in (
                (self.list_requests_per_minute, 60),
                (self.list_requests_per_hour, 3600),
            )
            if requests is not None
        ]
        if own:
            kept = [
                limit
                for limit in limits.get(RECORDINGS_LIST, ())
                if limit.window_s not in {one.window_s for one in own}
            ]
            limits[RECORDINGS_LIST] = (*kept, *own)
        return limits

    @property
    def database_password(self) -> SecretStr | None:
        """What stands in the file of the database's password."""
        return self._database_password

    @property
    def secret_texts(self) -> tuple[str | None, ...]:
        """The key, the database URLs, the password and the token: to be kept out of what shows."""
        secrets = (
            self.api_key,
            self.database_url,
            self.queue_database_url,
            self._database_password,
            self.serve_token,
        )
        return tuple(None if each is None else each.get_secret_value() for each in secrets)

    def require_source(self) -> str:
        """Return the API key. Raises ConfigurationError naming the variable."""
        if self.api_key is None:
            raise ConfigurationError(
                "POSTHOG_PERSONAL_API_KEY is not set",
                remedy="Create a personal API key (phx_…) under Settings, Personal API keys, "
                "and set it, or POSTHOG_PERSONAL_API_KEY_FILE",
            )
        return self.api_key.get_secret_value()

    def require_database(self) -> str:
        """Return the database URL. Raises ConfigurationError naming both choices."""
        if self.database_url is None:
            raise ConfigurationError(
                "DATABASE_URL is not set",
                remedy="Set it to your Postgres (postgresql://user:password@host/database), or to "
                "the word embedded for a Postgres kept in the data directory",
            )
        return self.database_url.get_secret_value().strip()


def load_settings(
    config: Path | None = None, flags: Mapping[str, Any] | None = None
) -> tuple[Settings, list[str]]:
    """Return the settings and what deserves a warning. Raises ConfigurationError, one line."""
    from_file = {} if config is None else _read_file(config)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    # The file is weaker than the environment, so what the environment names is left out of it.
    merged = {
        name: value
        for name, value in from_file.items()
        if not os.environ.get(environment_name(name))
    }
    try:
        settings = Settings(**(merged | given))
    except ValidationError as exc:
        origins = {name: f"{name} in {config}" for name in merged}
        origins |= {name: f"--{name}" for name in given}
        raise ConfigurationError(_explain(exc, origins)) from exc
    return settings, _unknown_variables()


def deprecations(settings: Settings) -> list[str]:
    """Return a warning for each setting whose value will stop working."""
    if settings.api_prefix != "environments":
        return []
    # PostHog/posthog#68511: rewritten to /api/projects, with the headers Deprecation and Sunset.
    return [
        "POSTHOG_ETL_API_PREFIX is environments, which PostHog has deprecated and may end after "
        "2026-07-31: leave it out, or set it to projects"
    ]


def _known_streams(names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in names)
    for name in names:
        if name not in STREAMS:
            raise ValueError(f"there is no stream {name!r}{nearest(name, STREAMS)}")
    return names


def _schedule(written: Any, common: Mapping[str, str]) -> Schedule:
    """Return the schedule that a table of the file means; `common` is what it need not repeat."""
    if not isinstance(written, dict):
        raise ValueError("must be tables: write [[schedules]] above each of them")
    name = written.get("name")
    if not isinstance(name, str) or name.startswith(":"):  # those are ours
        raise ValueError("each needs a name of small letters, digits, - and _")
    try:
        for key in written:
            if key not in _OF_A_SCHEDULE:
                raise ValueError(f"there is no {key!r} in it{nearest(key, _OF_A_SCHEDULE)}")
        given = {**common, **written}
        streams = given.pop("streams", ())
        if isinstance(streams, str) or not all(isinstance(each, str) for each in streams):
            raise ValueError('streams must be a list: ["session_recordings"]')
        if "cron" not in given:
            raise ValueError("it needs a cron expression")
        for key, value in given.items():
            if not isinstance(value, str):
                raise ValueError(f"{key} must be text, in quotes")
        jitter = parse_jitter(given.pop("jitter", "0"))
        return Schedule(**given, streams=_known_streams(streams), jitter=jitter)
    except (ValueError, TypeError) as exc:
        raise ValueError(f"schedule {name!r}: {exc}") from exc


def environment_name(name: str) -> str:
    """Return the environment variable of a setting."""
    return _OURS_WITHOUT_PREFIX.get(name, PREFIX + name.upper())


def setting_names() -> list[str]:
    """Return the names of all settings, as a file has them."""
    return ["schema" if name == "schema_name" else name for name in Settings.model_fields]


def nearest(name: str, names: Any) -> str:
    """Return ' (did you mean X?)', or nothing when no name is near."""
    found = [each for each in names if name and name in each]
    found = found or difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def parse_instant(text: str) -> datetime:
    """Return the instant that ISO 8601 text means, UTC when it names no zone. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not a date; write 2026-01-31 or 2026-01-31T12:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _secret_in(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ValueError(f"{name} cannot be read: {path}: {why}") from exc


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path} is not TOML: {exc}") from exc
    for name in values:
        if name not in setting_names():
            raise ConfigurationError(
                f"{path}: there is no setting {name!r}{nearest(name, setting_names())}",
                remedy="See the configuration reference for all names",
            )
    return values


def _unknown_variables() -> list[str]:
    known = {environment_name(name) for name in setting_names()}
    return [
        f"{name} is set, but there is no such setting{nearest(name, known)}"
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known
    ]


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    """Return every mistake at once in one line, without what looks like a secret.

    origins: where a setting stands that does not come from the environment.
    """
    names = {environment_name(name): name for name in setting_names()}
    mistakes = []
    for item in error.errors(include_url=False, include_input=False):
        given = str(item["loc"][0]) if item["loc"] else ""
        name = names.get(given, given)
        shown = [environment_name(name)] if name else []
        if name in origins:
            shown.append(f"({origins[name]})")
        text = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        mistakes.append(" ".join([*shown, _SECRET.sub("•••", text)]))
    return "; ".join(mistakes)
