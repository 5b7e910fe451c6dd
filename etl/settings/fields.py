"""Every setting: one frozen Settings, whose repr hides secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from yarl import URL

from etl.core.alerts import Kind, Rules
from etl.core.budget import PLANS, QUERY, RECORDINGS_LIST, Limit, Limits, with_share
from etl.core.lookback import Lookback, parse_duration
from etl.core.query import PREFIX as QUERY_PREFIX
from etl.core.query import QuerySpec
from etl.core.schedule import Schedule, parse_jitter, read_zone
from etl.core.source import is_own_machine
from etl.core.stream import Stream
from etl.errors import ConfigurationError
from etl.settings import alerts, values
from etl.settings.queries import read_presets, read_queries
from etl.streams import STREAMS
from etl.streams.presets import PRESETS
from etl.streams.queries import query_stream

PREFIX = "POSTHOG_ETL_"
_OURS_WITHOUT_PREFIX = {
    "host": "POSTHOG_HOST",
    "api_key": "POSTHOG_PERSONAL_API_KEY",
    "api_key_file": "POSTHOG_PERSONAL_API_KEY_FILE",
    "project_id": "POSTHOG_PROJECT_ID",
    "database_url": "DATABASE_URL",
    "database_password_file": "DATABASE_PASSWORD_FILE",
}
# A shorter path of a webhook, such as /hook, is no secret.
_SHORTEST_SECRET_PATH = 12
_Duration = Annotated[str, values.accepted_by(parse_duration)]
_Streams = Annotated[tuple[str, ...], BeforeValidator(values.read_streams)]


def _named(name: str, default: Any, about: str) -> Any:
    """Return a field whose environment variable does not begin with POSTHOG_ETL_."""
    choices = AliasChoices(_OURS_WITHOUT_PREFIX[name], name)
    return Field(default, validation_alias=choices, description=about)


def _default_data_dir() -> Path:
    # The embedded Postgres runs as another user than root, and only root may enter root's home.
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/posthog-etl")
    return Path.home() / ".local" / "share" / "posthog-etl"


class Settings(BaseSettings):
    """Every setting. Its variable is POSTHOG_ETL_ and the name, except for those named above."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        enable_decoding=False,
        populate_by_name=True,
        allow_inf_nan=False,
    )

    host: Annotated[str, AfterValidator(values.read_host)] = _named(
        "host", "https://us.posthog.com", "Address of the PostHog app; not the ingestion host."
    )
    api_key: Annotated[SecretStr | None, AfterValidator(values.read_key)] = _named(
        "api_key", None, "Personal API key (phx_…)."
    )
    api_key_file: Path | None = _named("api_key_file", None, "File that holds the key.")
    project_id: Annotated[str, AfterValidator(values.read_projects)] = _named(
        "project_id", "@current", "Project id; or several, separated by commas; or @current."
    )
    database_url: SecretStr | None = _named(
        "database_url", None, "Postgres URL, or the word embedded."
    )
    database_password_file: Path | None = _named(
        "database_password_file",
        None,
        "File that holds the password of the database, if DATABASE_URL has none.",
    )
    queue_database_url: SecretStr | None = Field(
        None,
        description="Postgres URL for the queue. Needed if DATABASE_URL names a transaction-mode "
        "pooler, which cannot serve the queue. Default: DATABASE_URL.",
    )
    queue_turn_s: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Time after which a worker's unit gives way to a waiting unit of another "
        "project, in seconds.",
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Directory of the embedded Postgres, and of a file per run that stays locked "
        "while the run lives.",
    )
    schema_name: Annotated[str, AfterValidator(values.read_schema)] = Field(
        "posthog",
        validation_alias=AliasChoices("POSTHOG_ETL_SCHEMA", "schema"),
        description="Schema of the data tables; the bookkeeping is in the schema NAME_etl.",
    )
    start: Annotated[
        datetime, BeforeValidator(values.read_instant), AfterValidator(values.read_start)
    ] = Field(
        datetime(2020, 1, 1, tzinfo=UTC),
        description="The first sync loads recordings since this instant.",
    )
    lookback: Annotated[str, values.accepted_by(Lookback.parse)] = Field(
        "26h, 7d every 6h, 30d every 1d",
        description="Which recordings are read again, by age: the first grade at every sync, the "
        "later grades less often, older recordings never. Units: m, h, d, w.",
    )
    deletion_guard_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Largest share of a stream that may be marked deleted in a day; 0.2 is 20 %.",
    )
    deletion_guard_rows: int = Field(
        20,
        ge=0,
        description="Up to this many rows may be marked deleted, whatever their share, a count.",
    )
    confirm_requests: int = Field(
        500,
        ge=1,
        description="Most requests of a sync for single records that a list did not show, a count. "
        "The next sync asks for the others.",
    )
    disabled_streams: _Streams = Field((), description="Streams that are switched off.")
    enabled_streams: _Streams = Field(
        (), description="Streams to switch on that are off by default."
    )
    keep_fields: Annotated[tuple[str, ...], BeforeValidator(values.read_kept_fields)] = Field(
        (),
        description="In streams with secrets, text of unknown fields is stored as a hash and its "
        "length. The fields named here are stored as they are. Write TABLE.FIELD, separated by "
        "commas: subscriptions.new_field or, within a JSON field, subscriptions.ai_config.model.",
    )
    sharing_requests: int = Field(
        200,
        ge=1,
        le=100_000,
        description="How many recordings, how many insights and how many dashboards a sync checks "
        "for sharing.",
    )
    sharing_recheck: _Duration = Field(
        "6h",
        description="Time after which an unchanged recording, insight or dashboard is checked "
        "again. Units: m, h, d, w.",
    )
    api_prefix: Literal["projects", "environments"] = Field(
        "projects", description="Path prefix of the API. PostHog has deprecated environments."
    )
    plan: Literal["free", "paid", "enterprise", "unlimited"] = Field(
        "free", description="PostHog plan, which sets the request limits."
    )
    list_requests_per_minute: int | None = Field(
        None, ge=1, description="Limit of recordings list requests, instead of the plan's."
    )
    list_requests_per_hour: int | None = Field(
        None, ge=1, description="Limit of recordings list requests, instead of the plan's."
    )
    query_requests_per_hour: int | None = Field(
        None,
        ge=1,
        description="Limit of requests to the query endpoint, instead of 2,400; 120 on old plans.",
    )
    queries: Annotated[tuple[QuerySpec, ...], BeforeValidator(read_queries)] = Field(
        (),
        description="Queries whose rows become tables. In the file: `[[queries]]`, each with name, "
        "query, key and, optionally, cursor, settle, lookback, every, reach, json and about. In "
        "the environment: a JSON list of these.",
    )
    query_presets: Annotated[tuple[str, ...], BeforeValidator(read_presets)] = Field(
        (),
        description="Ready queries to switch on: events, sessions, groups_by_query, "
        "person_distinct_ids, persons_by_query, cohort_people.",
    )
    page_size_records: int = Field(1000, ge=1, le=10_000, description="Records per page, a count.")
    streams_at_once: int = Field(
        4, ge=1, le=8, description="How many streams a sync brings up to date at once, a count."
    )
    buffer_bytes: int = Field(
        9 * 1024 * 1024,
        ge=1,
        description="Most bytes of pages that wait or are being loaded, for all streams together; "
        "a third of it goes into one transaction at most.",
    )
    request_timeout_s: float = Field(
        90.0, gt=0, description="Longest time for one request, in seconds."
    )
    request_attempts: int = Field(
        6, ge=1, description="How often a failing request is sent at most, a count."
    )
    max_wait_s: float = Field(
        4000.0,
        ge=0,
        description="Longest wait for the request budget, in seconds; then the run is paused.",
    )
    lease_s: float = Field(
        30.0,
        ge=1,
        le=86_400,
        description="Time after which a suspended or dead run loses its unit, in seconds.",
    )
    statement_timeout_s: float = Field(
        120.0, gt=0, le=86_400, description="Longest time for one SQL statement, in seconds."
    )
    connection_per_transaction: bool = Field(
        False, description="Open a database connection for every transaction."
    )
    auto_migrate: bool = Field(True, description="Whether sync brings the schema up to date.")
    ca_file: Path | None = Field(
        None, description="File of certificates to trust besides those of the system."
    )
    schedule: Annotated[str, values.accepted_by(partial(Schedule, "all"))] = Field(
        "*/15 * * * *",
        description="When `serve` runs a sync of all streams: a cron expression of five fields.",
    )
    time_zone: Annotated[str, values.accepted_by(read_zone)] = Field(
        "UTC", description="Time zone of the schedules: UTC, Europe/Berlin."
    )
    jitter: Annotated[str, values.accepted_by(parse_jitter)] = Field(
        "0", description="Each tick is delayed by a random time up to this. Units: s, m, h."
    )
    schedules: Annotated[tuple[Schedule, ...], BeforeValidator(values.read_schedules)] = Field(
        (),
        description="Several schedules, in place of `schedule`. In the file: `[[schedules]]`, each "
        "with name, cron and, optionally, streams, time_zone and jitter. In the environment: a "
        "JSON list of these.",
    )
    verify_share: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Share of each hour's requests that `serve` and `sync --verify-share` may "
        "spend on verifying the past; 0.1 is 10 %.",
    )
    verify_days: int = Field(
        30, ge=1, le=3650, description="Within how many days all of the past is verified, a count."
    )
    verify_repair: bool = Field(
        False, description="Whether what differs then is loaded again, as by `verify --repair`."
    )
    verify_by_query: bool = Field(
        True,
        description="Whether `verify` without --deep may ask the query endpoint which days are "
        "equal, so that lists are read only for the others. It needs the scope query:read; without "
        "it the lists are read.",
    )
    verify_schedule: Annotated[str, values.accepted_by(values.read_verify_schedule)] = Field(
        "30 3 * * *",
        description="When `serve` verifies a part of the past: a cron expression; off: never.",
    )
    serve_host: str = Field("127.0.0.1", description="Address that `serve` listens on.")
    serve_port: int = Field(
        8011, ge=0, le=65_535, description="Port that `serve` listens on; 0 picks a free one."
    )
    serve_token: Annotated[SecretStr | None, AfterValidator(values.read_token)] = Field(
        None,
        description="Token that every request to `serve` must show, except /healthz. Needed if "
        "serve_host is not of this machine alone.",
    )
    serve_token_file: Path | None = Field(None, description="File that holds the token.")
    forget_key: Annotated[SecretStr | None, AfterValidator(values.read_token)] = Field(
        None,
        description="Key of the hashes by which `forget` recognises persons. Without it the key "
        "is in the database, in a table that only its owner may read. It cannot be changed later.",
    )
    forget_key_file: Path | None = Field(None, description="File that holds that key.")
    keep_runs: _Duration = Field(
        "90d",
        description="How long ended runs are kept. The latest run of each unit is always kept. "
        "Units: m, h, d, w.",
    )

    alerts_webhook_url: Annotated[SecretStr | None, AfterValidator(alerts.read_webhook)] = Field(
        None, description="Address that alerts are sent to."
    )
    alerts_webhook_url_file: Path | None = Field(None, description="File that holds that address.")
    alerts_webhook_form: Literal["slack", "json"] | None = Field(
        None,
        description="What the webhook is sent: a message as Slack and Mattermost take it, or a "
        "JSON document for programs. Default: slack if the address is one of Slack, else json.",
    )
    alerts_email_to: Annotated[tuple[str, ...], BeforeValidator(alerts.read_addresses)] = Field(
        (), description="Who gets alerts by e-mail."
    )
    alerts_email_from: Annotated[str | None, AfterValidator(alerts.read_sender)] = Field(
        None, description="Sender of these e-mails. Default: the first of those who get them."
    )
    alerts_smtp_host: str | None = Field(
        None, description="Server that takes the e-mails. Needed for alerts by e-mail."
    )
    alerts_smtp_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="Its port. Default: 587 with starttls, 465 with tls, 25 with none.",
    )
    alerts_smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="How the connection to it is encrypted. With none there is no password.",
    )
    alerts_smtp_user: str | None = Field(None, description="User at that server.")
    alerts_smtp_password: SecretStr | None = Field(
        None, description="Password of the user at that server."
    )
    alerts_smtp_password_file: Path | None = Field(
        None, description="File that holds this password."
    )
    alerts_on: Annotated[tuple[Kind, ...], BeforeValidator(alerts.read_kinds)] = Field(
        tuple(Kind),
        description="What is an alert: failed, partial, stale, rejects, withheld (deletions), "
        "differences (found by `verify`), drift.",
    )
    alerts_stale_after: Annotated[str, values.accepted_by(alerts.read_patience)] = Field(
        "1d",
        description="Time without a success after which a stream is stale; of some streams "
        "another time, or never: 1d, group_activity 8d, comments off. Units: m, h, d, w.",
    )
    alerts_rejects_above: int = Field(
        0,
        ge=0,
        description="An alert begins if a stream has more unresolved rejects than this, a count.",
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
        """Flags and the files come through `load_settings` and `--env-file`."""
        assert isinstance(env_settings, EnvSettingsSource)
        # HOST or PROJECT_ID in the environment are variables of the platform, not ours.
        ours = {environment_name(name).lower() for name in setting_names()}
        env_settings.env_vars = {
            name: value for name, value in env_settings.env_vars.items() if name.lower() in ours
        }
        return (init_settings, env_settings)

    @model_validator(mode="after")
    def _secrets_from_files(self) -> Settings:
        for name, check in (
            ("api_key", values.read_key),
            ("serve_token", values.read_token),
            ("forget_key", values.read_token),
            ("alerts_webhook_url", alerts.read_webhook),
            ("alerts_smtp_password", values.read_password),
        ):
            path = getattr(self, f"{name}_file")
            if getattr(self, name) is None and path is not None:
                variable = environment_name(f"{name}_file")
                text = values.secret_in(path, variable)
                try:
                    secret = check(SecretStr(text))
                except ValueError as exc:
                    raise ValueError(f"{variable} {exc}") from exc
                object.__setattr__(self, name, secret)
        if self.database_password_file is not None:
            text = values.secret_in(self.database_password_file, "DATABASE_PASSWORD_FILE")
            if not text:
                raise ValueError("DATABASE_PASSWORD_FILE holds no password")
            self._database_password = SecretStr(text)
        return self

    @model_validator(mode="after")
    def _simple_schedule(self) -> Settings:
        """Make one schedule from schedule, time_zone and jitter if schedules is empty."""
        if self.schedules:
            if "schedule" in self.model_fields_set:
                raise ValueError(
                    "POSTHOG_ETL_SCHEDULE and schedules are both set; remove one of them"
                )
            return self
        simple = {"name": "all", "cron": self.schedule}
        common = {name: getattr(self, name) for name in values.OF_EVERY_SCHEDULE}
        try:
            object.__setattr__(self, "schedules", (values.schedule_of(simple, common),))
        except ValueError as exc:
            # The other parts were validated above.
            raise ValueError(str(exc).replace("schedule 'all':", "POSTHOG_ETL_JITTER")) from exc
        return self

    @model_validator(mode="after")
    def _queries_are_known(self) -> Settings:
        """Streams are named before the queries are read, so names of queries are looked at here."""
        own = [spec.name for spec in self.queries]
        for name in self.query_presets:
            if name in own:
                raise ValueError(f"queries: the name {name!r} is that of a preset that is on")
        known = self.catalogue
        named = [*self.disabled_streams, *self.enabled_streams]
        named += [name for each in self.schedules for name in each.streams]
        named += alerts.queries_in(alerts.read_patience(self.alerts_stale_after))
        for name in named:
            if name not in known:
                raise ValueError(f"there is no stream {name!r}{values.nearest(name, known)}")
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

    @model_validator(mode="after")
    def _alerts_can_be_told(self) -> Settings:
        mail = [environment_name(f"alerts_{name}") for name in ("email_to", "smtp_host")]
        if self.alerts_email_to and self.alerts_smtp_host is None:
            raise ValueError(f"{mail[0]} is set, so {mail[1]} is needed")
        if self.alerts_smtp_host is not None and not self.alerts_email_to:
            raise ValueError(f"{mail[1]} is set, so {mail[0]} is needed")
        user, password = (environment_name(f"alerts_smtp_{name}") for name in ("user", "password"))
        if (self.alerts_smtp_user is None) != (self.alerts_smtp_password is None):
            raise ValueError(f"{user} and {password} are only of use together; one is not set")
        if self.alerts_smtp_password is not None and self.alerts_smtp_security == "none":
            raise ValueError(f"{password} would be sent unencrypted; use starttls or tls")
        return self

    def choose(self, names: Sequence[str] | None) -> list[Stream]:
        """Return the streams of these names, or all that are on; without those switched off."""
        known = self.catalogue
        on = [n for n, stream in known.items() if not stream.off or n in self.enabled_streams]
        chosen = list(dict.fromkeys(names)) if names else on
        return [known[name] for name in chosen if name not in self.disabled_streams]

    def is_ready_query(self, stream: str) -> bool:
        """Tell whether a stream is that of a ready query which is not switched on."""
        return stream not in self.catalogue and stream in {s.stream for s in PRESETS.values()}

    def is_removed(self, stream: str) -> bool:
        """Tell whether a stream is that of a query which is no longer configured."""
        return stream.startswith(QUERY_PREFIX) and stream not in self.catalogue

    @property
    def all_queries(self) -> list[tuple[QuerySpec, bool]]:
        """The configured queries and the ready ones, each with whether it is read."""
        ready = [(spec, name in self.query_presets) for name, spec in PRESETS.items()]
        found = [(spec, True) for spec in self.queries] + ready
        return [(spec, on and spec.stream not in self.disabled_streams) for spec, on in found]

    @property
    def catalogue(self) -> Mapping[str, Stream]:
        """Every stream by name: those of the API, then one for each configured query."""
        presets = [PRESETS[name] for name in self.query_presets]
        found = [query_stream(spec) for spec in (*self.queries, *presets)]
        return {**STREAMS, **{stream.name: stream for stream in found}}

    def require_serve_token(self) -> str | None:
        """Return the token of `serve`, None if only this machine can reach it and none is set.

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
    def tells_alerts(self) -> bool:
        """Whether anybody is told of alerts."""
        return self.alerts_webhook_url is not None or bool(self.alerts_email_to)

    @property
    def alert_rules(self) -> Rules:
        """What is an alert. A query that is read less often may be without success for longer."""
        return Rules(
            self.alerts_on,
            alerts.read_patience(self.alerts_stale_after),
            self.alerts_rejects_above,
            {spec.stream: spec.every for spec, _ in self.all_queries},
        )

    @property
    def scheduled(self) -> list[Stream]:
        """The streams that a sync of all, or one of the schedules, brings up to date."""
        found = [stream for each in self.schedules for stream in self.choose(each.streams)]
        return list({stream.name: stream for stream in found}.values())

    @property
    def named(self) -> set[str]:
        """The streams that somebody has asked for by name."""
        return {*self.enabled_streams, *(name for each in self.schedules for name in each.streams)}

    @property
    def grades(self) -> Lookback:
        """The parsed lookback."""
        return Lookback.parse(self.lookback)

    @property
    def verification(self) -> Schedule | None:
        """When `serve` verifies a part of the past; None: never."""
        found = values.read_verify_schedule(self.verify_schedule)
        return None if found is None else replace(found, time_zone=self.time_zone)

    def sync_every_s(self, stream: str) -> float:
        """Return the mean time between two syncs of a stream by the schedules, in seconds."""
        of_it = [each for each in self.schedules if not each.streams or stream in each.streams]
        return min(each.mean_gap_s() for each in of_it or self.schedules)

    @property
    def projects(self) -> tuple[str, ...]:
        """The configured projects, each once, as text."""
        return tuple(dict.fromkeys(part.strip() for part in self.project_id.split(",")))

    @property
    def limits(self) -> Limits:
        """The request limits: the plan's, unless set otherwise."""
        limits = {name: tuple(of_class) for name, of_class in PLANS[self.plan].items()}
        for name, requests, window_s in (
            (RECORDINGS_LIST, self.list_requests_per_minute, 60),
            (RECORDINGS_LIST, self.list_requests_per_hour, 3600),
            (QUERY, self.query_requests_per_hour, 3600),
        ):
            if requests is not None:
                kept = [each for each in limits.get(name, ()) if each.window_s != window_s]
                limits[name] = (*kept, Limit(requests, window_s))
        return limits

    @property
    def forget_key_text(self) -> str | None:
        """The key of the hashes of forgotten persons; None: it is in the database."""
        return None if self.forget_key is None else self.forget_key.get_secret_value()

    @property
    def limits_with_share(self) -> Limits:
        """The request limits, and those of verification."""
        return with_share(self.limits, self.verify_share)

    @property
    def database_password(self) -> SecretStr | None:
        """The content of `database_password_file`."""
        return self._database_password

    @property
    def secret_texts(self) -> tuple[str | None, ...]:
        """The texts that logs and errors must hide: keys, database URLs, password and token."""
        secrets = (
            self.api_key,
            self.database_url,
            self.queue_database_url,
            self._database_password,
            self.serve_token,
            self.forget_key,
            self.alerts_webhook_url,
            self.alerts_smtp_password,
        )
        texts = [None if each is None else each.get_secret_value() for each in secrets]
        # Errors may show the path of an address alone.
        if self.alerts_webhook_url is not None:
            path = URL(self.alerts_webhook_url.get_secret_value()).raw_path_qs
            texts.append(path if len(path) >= _SHORTEST_SECRET_PATH else None)
        return tuple(texts)

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


def environment_name(name: str) -> str:
    """Return the environment variable of a setting."""
    return _OURS_WITHOUT_PREFIX.get(name, PREFIX + name.upper())


def setting_names() -> list[str]:
    """Return the names of all settings, as a file has them."""
    return ["schema" if name == "schema_name" else name for name in Settings.model_fields]
