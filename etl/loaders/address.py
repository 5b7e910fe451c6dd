"""Read the address of a Postgres in any common form, for SQLAlchemy and asyncpg.

Forms and parameters mean what they mean to libpq (PostgreSQL documentation, "Connection Strings"
and "Parameter Key Words"), with two differences. Special characters in a password need no encoding
if the address can be read without it. Parameters of other drivers are accepted, because hosting
services add them to the addresses they show; `DatabaseAddress.ignored` names them.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlencode

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import URL

from etl.errors import ConfigurationError

_DRIVER = "postgresql+asyncpg"

_EXPECTED = (
    "Expected postgresql://user:password@host:5432/database, "
    "or the word embedded for a Postgres of our own"
)
_ENCODE = (
    "Special characters in a password are written %40 for @, %2F for /, %3F for ?, %23 for #, "
    "%3A for : and %25 for %"
)

# Text that is often pasted along: a line of a script or a .env file, a command shown by a service.
_WRAPPED = re.compile(
    r"""(?:export\s+)?(?:[A-Z_][A-Z0-9_]*\s*=)?\s*(?:psql\s+)?(["']?)(?P<text>.*?)\1""",
    re.DOTALL,
)
_SCHEME = re.compile(r"(?:jdbc:)?(?P<name>[A-Za-z][A-Za-z0-9+.-]*)://")
_POSTGRES = re.compile(r"postgres(?:ql)?(?:\+\w+)?", re.IGNORECASE)

# What follows user:password@. Host and database hold no @, so an @ in a password is not taken for
# the one before the host.
_HOST = r"(?:\[[^\]]*\]|[\w.%~-]*)(?::\d*)?"
_PLACE = re.compile(
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?:/(?P<database>[^/@?\#]*))?(?:\?(?P<query>[^?\#]*))?"
)
_PARAMETER = re.compile(r"(?P<name>[A-Za-z_][\w.-]*)=(?P<value>.*)")

# libpq's other form, name=value. A value in single quotes may hold blanks.
_PAIR = re.compile(r"(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)+))(?:\s+|$)")

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL_NAMES = ("sslmode", "ssl", "requiressl")
# Names that other drivers use (`ssl` of JDBC and Node) for sslmode.
_SSL_SYNONYMS = {
    "true": "require",
    "1": "require",
    "no-verify": "require",
    "false": "disable",
    "0": "disable",
}
_SSL_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# asyncpg gives these libpq's meaning, but accepts them only within an address.
_READ_BY_ASYNCPG = (
    *_SSL_FILES,
    "sslpassword",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "passfile",
    "krbsrvname",
    "gsslib",
)
# What the programs of Postgres read from the environment, by the name that it has in an address
# (PostgreSQL documentation, "Environment Variables").
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "username": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "database": "PGDATABASE",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "application_name": "PGAPPNAME",
    "options": "PGOPTIONS",
}
_SESSION_ATTRIBUTES = ("primary", "standby", "read-write", "read-only", "prefer-standby")


class DatabaseAddress(Struct, frozen=True):
    """Where the destination is.

    url, connect_args: for SQLAlchemy's `create_engine`.
    redacted: the address for people and logs, with `***` for the password; `repr` and `str` return
    it.
    ignored: names of parameters that have no effect here.
    setting: the setting that holds the address.
    variables: the address in the environment of a program of Postgres. It holds the password, so
    nothing of it is in the list of processes.
    """

    url: URL
    connect_args: Mapping[str, object]
    redacted: str
    ignored: tuple[str, ...] = ()
    setting: str = "DATABASE_URL"
    variables: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"DatabaseAddress({self.redacted!r})"

    def with_password(self, password: str) -> DatabaseAddress:
        """Return the address with this password, unless it already has one."""
        if self.url.password is not None:
            return self
        variables = {**self.variables, "PGPASSWORD": password}
        return replace(self, url=self.url.set(password=password), variables=variables)


def parse_database_url(text: str) -> DatabaseAddress:
    """Return the address in `text`: a URL, or libpq's name=value pairs.

    Neither asyncpg nor SQLAlchemy keeps prepared statements, so it works behind a pooler that uses
    another connection for each transaction. Checks that the certificate files exist.

    Raises ConfigurationError if it is no address, or asks for what is not supported. The message
    never quotes `text`.
    """
    wrapped = _WRAPPED.fullmatch(text.strip())
    text = wrapped["text"].strip() if wrapped else text.strip()
    if not text:
        _refuse("is empty", _EXPECTED)
    if not text.isprintable():
        _refuse("contains a line break or a control character", _EXPECTED)
    scheme = _SCHEME.match(text)
    if scheme:
        if not _POSTGRES.fullmatch(scheme["name"]):
            _refuse(f"is a {scheme['name'].lower()}:// address", _EXPECTED)
        parameters = _parse_url(text[scheme.end() :])
    else:
        parameters = _parse_pairs(text)
    return _build({name: value for name, value in parameters.items() if value})


def _refuse(why: str, remedy: str = "") -> NoReturn:
    raise ConfigurationError(f"DATABASE_URL {why}", remedy=remedy) from None


def _parse_url(text: str) -> dict[str, str]:
    """Return the address after the scheme as libpq's parameters."""
    account, place, query = _split_account(text)
    user, _, password = account.partition(":")
    places = [re.fullmatch(r"(.*?)(?::(\d*))?", host) for host in place["hosts"].split(",")]
    hosts = [(match[1].strip("[]"), match[2] or "") for match in places if match]
    ports = [port for _, port in hosts]
    return {
        "user": _decode(user),
        "password": _decode(password),
        "host": ",".join(_decode(name) for name, _ in hosts),
        "port": ",".join(ports) if any(ports) else "",
        "dbname": _decode(place["database"] or ""),
    } | query


def _split_account(text: str) -> tuple[str, re.Match[str], dict[str, str]]:
    """Return the user's part of an address, the server's part, and the parameters.

    By the standard the server's part begins after the last @ before the first of / ? #. If that is
    not
    a server, the password holds one of these characters: then the @ after which everything matches
    is used.
    """
    authority = re.split(r"[/?#]", text, maxsplit=1)[0]
    standard = authority.rfind("@")
    for begins in ([standard], [i for i, letter in enumerate(text) if letter == "@"]):
        fitting = []
        for at in begins:
            place = _PLACE.fullmatch(text, at + 1)
            query = _parse_query(place["query"] or "") if place else None
            if place and query is not None:
                fitting.append((text[: max(at, 0)], place, query))
        if len(fitting) == 1:
            return fitting[0]
    _refuse("cannot be told apart into user, password, host and database", _ENCODE)


def _parse_query(query: str) -> dict[str, str] | None:
    """Return the parameters; None if this is not a list of them. A plus stays a plus."""
    found = [_PARAMETER.fullmatch(part) for part in query.split("&") if part]
    if not all(found):
        return None
    return {match["name"]: _decode(match["value"]) for match in found if match}


def _decode(text: str) -> str:
    """Undo percent-encoding. A % that encodes nothing stays as it is."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


def _parse_pairs(text: str) -> dict[str, str]:
    """Return libpq's parameters from `host=... user=...`."""
    parameters = {}
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if not pair:
            _refuse("is not the address of a Postgres", _EXPECTED)
        parameters[pair[1]] = re.sub(r"\\(.)", r"\1", pair[2] or pair[3] or "")
        position = pair.end()
    if not parameters.keys() & {"host", "hostaddr", "port", "user", "dbname"}:
        _refuse("is not the address of a Postgres", _EXPECTED)
    return parameters


def _build(parameters: dict[str, str]) -> DatabaseAddress:
    """Give each parameter to SQLAlchemy, asyncpg or the server; the rest is ignored."""
    take = parameters.pop
    if take("service", ""):
        _refuse("names a service, and no service file is read here", _EXPECTED)
    if parameters.get("gssencmode") == "require":
        _refuse("asks for GSS encryption, which is not supported", "Use sslmode=require instead")
    variables = _variables_of(parameters)
    numeric = take("hostaddr", "")
    hosts, ports = _places(take("host", "") or numeric, take("port", ""))
    arguments: dict[str, object] = {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        **_tls(parameters),
    }
    if len(hosts) > 1:
        arguments |= {"host": hosts, "port": [port or 5432 for port in ports]}
    timeout = take("connect_timeout", "0")
    if not re.fullmatch(r"-?\d+", timeout):
        _refuse("has a connect_timeout that is no whole number of seconds")
    if int(timeout) > 0:
        # libpq waits at least two seconds.
        arguments["timeout"] = float(max(2, int(timeout)))
    attributes = take("target_session_attrs", "any")
    if attributes not in ("any", *_SESSION_ATTRIBUTES):
        _refuse(f"has a target_session_attrs that is none of {', '.join(_SESSION_ATTRIBUTES)}")
    if attributes != "any":
        arguments["target_session_attrs"] = attributes
    name = take("application_name", "") or parameters.get("fallback_application_name")
    # libpq does not read a plus as a blank. Here it is one, because no option contains a plus.
    options = take("options", "").replace("+", " ")
    settings = {"application_name": name, "options": options}
    if any(settings.values()):
        arguments["server_settings"] = {key: value for key, value in settings.items() if value}
    first = hosts[0] if hosts else None
    socket = first is not None and first.startswith("/")
    url = URL.create(
        _DRIVER,
        username=take("user", None) or take("username", None),
        password=take("password", None),
        host=None if socket else first,
        port=ports[0],
        database=take("dbname", None) or take("database", None),
        query={"host": first} if socket and first else {},
    )
    redacted = _redact(url, hosts, ports)
    ignored = tuple(sorted(parameters))
    return DatabaseAddress(url, arguments, redacted, ignored, variables=variables)


def _variables_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters as libpq's variables. Call it before they are taken out."""
    mode = _ssl_mode(parameters)
    known = {**parameters, "options": parameters.get("options", "").replace("+", " ")}
    known["sslmode"] = mode
    return {
        _VARIABLES[name]: value for name, value in known.items() if value and name in _VARIABLES
    }


def _ssl_mode(parameters: Mapping[str, str]) -> str:
    words = [parameters.get(name, "") for name in _SSL_NAMES]
    mode = next((word.lower() for word in words if word), "")
    return _SSL_SYNONYMS.get(mode, mode)


def _redact(url: URL, hosts: list[str], ports: list[int | None]) -> str:
    account = f"{url.username or ''}{':***' if url.password else ''}"
    places = [
        (f"[{host}]" if ":" in host and not host.startswith("/") else host)
        + (f":{port}" if port else "")
        for host, port in zip(hosts or [""], ports, strict=True)
    ]
    at = "@" if account else ""
    return f"postgresql://{account}{at}{','.join(places)}/{url.database or ''}"


def _places(hosts: str, ports: str) -> tuple[list[str], list[int | None]]:
    """Return the hosts (none means libpq's defaults) and as many ports, at least one."""
    names = hosts.split(",") if hosts else []
    numbers = [_port(port) for port in ports.split(",")]
    if len(numbers) == 1:
        numbers *= max(1, len(names))
    if len(numbers) != max(1, len(names)) or not all(names):
        _refuse("has hosts and ports that do not match in number")
    return names, numbers


def _port(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        _refuse("has a port that is not a number from 1 to 65535", _ENCODE)
    return int(text)


def _tls(parameters: dict[str, str]) -> dict[str, object]:
    """Take the parameters about encryption out of `parameters`; return them for asyncpg."""
    mode = _ssl_mode(parameters)
    for name in _SSL_NAMES:
        parameters.pop(name, None)
    if mode and mode not in _SSL_MODES:
        _refuse(f"has an sslmode that is none of {', '.join(_SSL_MODES)}")
    given = {name: parameters.pop(name) for name in _READ_BY_ASYNCPG if name in parameters}
    system = given.get("sslrootcert") == "system"
    if system:
        del given["sslrootcert"]
    for name in _SSL_FILES:
        if name in given:
            path = Path(given[name]).expanduser()
            if not path.is_file():
                _refuse(f"names a file as {name} that is not there: {path}")
            given[name] = str(path)
    if system:
        if mode not in ("", "verify-full"):
            _refuse("has sslrootcert=system with a weaker sslmode", "Use sslmode=verify-full")
        return {"ssl": _system_context(given), **_as_address(given)}
    has_root = "sslrootcert" in given or Path("~/.postgresql/root.crt").expanduser().is_file()
    if mode.startswith("verify") and not has_root and not os.environ.get("PGSSLROOTCERT"):
        _refuse(
            f"has sslmode={mode} and no certificate to verify with",
            "Add sslrootcert=PATH, or sslrootcert=system for the authorities this machine trusts",
        )
    return _as_address({"sslmode": mode, **given} if mode else given)


def _as_address(parameters: Mapping[str, str]) -> dict[str, object]:
    return {"dsn": f"postgresql://?{urlencode(parameters)}"} if parameters else {}


def _system_context(given: Mapping[str, str]) -> ssl.SSLContext:
    """Verify against the authorities this machine trusts; asyncpg takes this only as a context."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    if "sslcert" in given:
        password = given.get("sslpassword", "")
        context.load_cert_chain(given["sslcert"], given.get("sslkey"), lambda: password)
    return context
