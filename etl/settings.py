"""Files, environment and flags -> one frozen Settings, read once. Secrets hide in its repr.

Weakest first: defaults, the TOML file, the environment, flags.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
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
from etl.errors import ConfigurationError
from etl.streams import STREAMS

PREFIX = "POSTHOG_ETL_"
# A key, or the user and password of an address, that stands where something else belongs.
_SECRET = re.compile(r"ph[a-z]_[\w-]+|(?<=://)[^\s'\"]*@")
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
        description="Where the embedded Postgres keeps its data.",
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
    disabled_streams: tuple[str, ...] = Field((), description="Streams that are switched off.")
    enabled_streams: tuple[str, ...] = Field(
        (), description="Streams that are off by default and switched on."
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
        "projects", description="Path prefix of the API; environments is for old clients."
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

    @field_validator("sharing_recheck")
    @classmethod
    def _recheck(cls, value: str) -> str:
        parse_duration(value)
        return value

    @field_validator("disabled_streams", "enabled_streams", mode="before")
    @classmethod
    def _streams(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError("must be a list of stream names")
        names = tuple(name.strip() for name in names)
        for name in names:
            if name not in STREAMS:
                raise ValueError(f"there is no stream {name!r}{nearest(name, STREAMS)}")
        return names

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
    def _password_from_file(self) -> Settings:
        if self.database_password_file is not None:
            text = _secret_in(self.database_password_file, "DATABASE_PASSWORD_FILE")
            if not text:
                raise ValueError("DATABASE_PASSWORD_FILE holds no password")
            self._database_password = SecretStr(text)
        return self

    @model_validator(mode="after")
    def _key_from_file(self) -> Settings:
        if self.api_key is None and self.api_key_file is not None:
            text = _secret_in(self.api_key_file, "POSTHOG_PERSONAL_API_KEY_FILE")
            try:
                key = self._key(SecretStr(text))
            except ValueError as exc:
                raise ValueError(f"POSTHOG_PERSONAL_API_KEY_FILE {exc}") from exc
            object.__setattr__(self, "api_key", key)
        return self

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
        """The API key, the database URLs and the password, to be kept out of what is shown."""
        secrets = (
            self.api_key,
            self.database_url,
            self.queue_database_url,
            self._database_password,
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


def is_loopback(host: str) -> bool:
    """Tell whether an address is on this very machine."""
    name = URL(host).host or ""
    return name in ("localhost", "::1") or name.startswith("127.")


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
