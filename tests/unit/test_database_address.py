"""Every form in which a Postgres is handed out, and what becomes of it."""

import inspect
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg.connect_utils
import pytest
from sqlalchemy.dialects.postgresql import asyncpg as postgresql_asyncpg

from etl.errors import ConfigurationError
from etl.loaders.address import parse_database_url

POOLED = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}


def parts(text: str) -> tuple[object, ...]:
    """Return user, password, host, port and database of what a text is read as."""
    url = parse_database_url(text).url
    return url.username, url.password, url.host, url.port, url.database


def asyncpg_reads(text: str) -> tuple[list[object], Any]:
    """Return the addresses and parameters that asyncpg makes of what SQLAlchemy passes to it."""
    address = parse_database_url(text)
    dialect: Any = postgresql_asyncpg
    _, arguments = dialect.dialect().create_connect_args(address.url)
    arguments |= address.connect_args
    for name in POOLED:
        del arguments[name]
    connect_utils: Any = asyncpg.connect_utils
    parse = connect_utils._parse_connect_dsn_and_args
    nothing = dict.fromkeys(inspect.signature(parse).parameters)
    addresses, read = parse(**{**nothing, **arguments})
    return addresses, read


@pytest.mark.parametrize(
    "scheme",
    [
        "postgres",
        "postgresql",
        "POSTGRESQL",
        "postgresql+asyncpg",
        "postgresql+psycopg2",
        "postgres+psycopg",
        "jdbc:postgresql",
    ],
)
def test_every_scheme_of_postgres_becomes_the_one_of_our_driver(scheme: str) -> None:
    """The driver in the address was somebody else's choice."""
    address = parse_database_url(f"{scheme}://ann:pw@db.example.com:6432/copy")
    assert address.url.drivername == "postgresql+asyncpg"
    assert parts(f"{scheme}://ann:pw@db.example.com:6432/copy") == (
        "ann",
        "pw",
        "db.example.com",
        6432,
        "copy",
    )


def test_no_prepared_statement_is_kept_whatever_the_address_says() -> None:
    """Behind a pooler the next transaction has another connection."""
    address = parse_database_url("postgres://ann@db/copy?statement_cache_size=100&pgbouncer=true")
    assert address.connect_args == POOLED
    assert address.ignored == ("pgbouncer", "statement_cache_size")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://", (None, None, None, None, None)),
        ("postgresql:///copy", (None, None, None, None, "copy")),
        ("postgresql://db", (None, None, "db", None, None)),
        ("postgresql://db/", (None, None, "db", None, None)),
        ("postgresql://ann@db", ("ann", None, "db", None, None)),
        ("postgresql://ann:@db:5432", ("ann", None, "db", 5432, None)),
        ("postgresql://ann:pw@/copy", ("ann", "pw", None, None, "copy")),
        ("postgresql://db/?user=ann&password=pw&dbname=copy", ("ann", "pw", "db", None, "copy")),
        ("postgresql://x@y/z?user=ann&host=db&port=1&dbname=copy", ("ann", None, "db", 1, "copy")),
        ("postgresql://ann@db/main%2Fcopy", ("ann", None, "db", None, "main/copy")),
        ("postgresql://key:pw@db/copy:branch", ("key", "pw", "db", None, "copy:branch")),
        ("postgres://ann.ref:pw@aws-0.pooler.example.com:6543/postgres",
         ("ann.ref", "pw", "aws-0.pooler.example.com", 6543, "postgres")),
        ("postgres://ann@server:pw@db.example.com/copy",
         ("ann@server", "pw", "db.example.com", None, "copy")),
        ("postgresql://ann:pw@[2001:db8::1]:6432/copy", ("ann", "pw", "2001:db8::1", 6432, "copy")),
        ("postgresql://[::1]/copy", (None, None, "::1", None, "copy")),
        ("postgresql://[fe80::1%25eth0]", (None, None, "fe80::1%eth0", None, None)),
    ],
)  # fmt: skip
def test_parts_may_be_missing_or_stand_elsewhere(text: str, expected: tuple[object, ...]) -> None:
    """What is not said is left to the driver, and parameters go before what stands first."""
    assert parts(text) == expected


@pytest.mark.parametrize("password", [
    "plain", "a@b", "a/b", "a#b", "a?b", "a:b", "a b", "a%b", "100%", "%zz", "%ff", "a+b", "a&b=c",
    "a@b/c", "1/x", "p@1/x", "#/?@:", "?x=1", "ä€", "a'b\"c", "[x]", "a,b", "@", "/",
])  # fmt: skip
def test_a_password_s_special_characters_need_no_encoding(password: str) -> None:
    """As people paste it, and encoded as it should be, it is the same password."""
    expected = ("ann", password, "db.example.com", 5432, "copy")
    end = "@db.example.com:5432/copy?sslmode=disable&application_name=x"
    assert parts(f"postgresql://ann:{password}{end}") == expected
    assert parts(f"postgresql://ann:{quote(password, safe='')}{end}") == expected


@pytest.mark.parametrize("text", [
    "postgresql://ann:sEcret/x@db/copy?user=x@y",
    "postgresql://ann:sEcret@db:port/copy",
    "postgresql://ann:sEcret@db:70000/copy",
    "postgresql://ann:sEcret@db:0/copy",
    "postgresql://ann:sEcret@db/copy/x",
    "postgresql://ann:sEcret@db/copy#x",
    "postgresql://ann:sEcret@db/copy?sslmode",
    "postgresql://ann:sEcret@db/copy?sslmode=sEcret",
    "postgresql://ann:sEcret@db/copy?connect_timeout=sEcret",
    "postgresql://ann:sEcret@db/copy?target_session_attrs=sEcret",
    "postgresql://ann:sEcret@db/copy?service=sEcret",
    "postgresql://ann:sEcret@db/copy?gssencmode=require",
    "postgresql://ann:sEcret@a,b:1,c:2/copy?port=1,2",
    "postgresql://ann:sEcret@a,,b/copy",
    "postgresql://ann:sEcret\n@db/copy",
    "mysql://ann:sEcret@db/copy",
    "https://ann:sEcret@db/copy",
    "sqlite:///sEcret",
    "prisma+postgres://accelerate.example.com/?api_key=sEcret",
    "sEcret",
    "sEcret=sEcret",
    "host=db password='sEcret",
    "host=db sEcret",
    "//ann:sEcret@db/copy",
    "",
    "  \n",
    "''",
    "DATABASE_URL=",
])  # fmt: skip
def test_what_is_no_address_is_refused_in_one_line_without_quoting_it(text: str) -> None:
    """The line names the setting; whatever it held could be the password."""
    with pytest.raises(ConfigurationError) as caught:
        parse_database_url(text)
    line = str(caught.value)
    assert line.startswith("DATABASE_URL ")
    assert "sEcret" not in line
    assert "\n" not in line
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["mysql://ann@db/copy", "https://app.example.com", "", "copy"])
def test_the_refusal_says_what_was_expected(text: str) -> None:
    """Both choices: an address, or the embedded one."""
    with pytest.raises(ConfigurationError, match=r"postgresql://user:password@.*embedded"):
        parse_database_url(text)


@pytest.mark.parametrize("text", [
    " postgres://ann:pw@db/copy\n",
    "'postgres://ann:pw@db/copy'",
    '"postgres://ann:pw@db/copy"',
    "DATABASE_URL=postgres://ann:pw@db/copy",
    "export DATABASE_URL='postgres://ann:pw@db/copy'",
    'PG_URL = "postgres://ann:pw@db/copy"',
    "psql 'postgres://ann:pw@db/copy'",
    "psql postgres://ann:pw@db/copy",
])  # fmt: skip
def test_what_was_pasted_along_is_taken_off(text: str) -> None:
    """Quotes, blanks, a line of a script, a command from a service's page."""
    assert parts(text) == ("ann", "pw", "db", None, "copy")


@pytest.mark.parametrize(("text", "expected"), [
    ("host=db port=6432 user=ann password=pw dbname=copy", ("ann", "pw", "db", 6432, "copy")),
    ("host = db  user='ann lee' password='it\\'s \\\\'", ("ann lee", "it's \\", "db", None, None)),
    ("dbname=copy password=p@ss/w#rd%41", (None, "p@ss/w#rd%41", None, None, "copy")),
    ("hostaddr=10.0.0.1 dbname=''", (None, None, "10.0.0.1", None, None)),
    ("host=::1 port=1", (None, None, "::1", 1, None)),
])  # fmt: skip
def test_name_value_pairs_are_read_as_libpq_does(text: str, expected: tuple[object, ...]) -> None:
    """Quotes, escapes, and no percent-encoding."""
    assert parts(text) == expected


@pytest.mark.parametrize("text", [
    "postgresql://ann@/copy?host=/cloudsql/p:r:i",
    "postgresql://ann@%2Fcloudsql%2Fp:r:i/copy",
    "host=/cloudsql/p:r:i user=ann dbname=copy",
])  # fmt: skip
def test_a_unix_socket_s_directory_reaches_asyncpg(text: str) -> None:
    """Colons in it, as in Google's, are not separators."""
    if "%2F" in text:
        text = text.replace("p:r:i", "p%3Ar%3Ai")
    addresses, _ = asyncpg_reads(text)
    assert addresses == ["/cloudsql/p:r:i/.s.PGSQL.5432"]


@pytest.mark.parametrize(("text", "expected"), [
    ("postgresql://ann@a,b/copy", [("a", 5432), ("b", 5432)]),
    ("postgresql://ann@a:1,b/copy", [("a", 1), ("b", 5432)]),
    ("postgresql://ann@a,b:2/copy", [("a", 5432), ("b", 2)]),
    ("postgresql://ann@[::1]:1,b:2/copy", [("::1", 1), ("b", 2)]),
    ("postgresql://ann@/copy?host=a,b&port=7", [("a", 7), ("b", 7)]),
    ("host=a,b port=1,2 user=ann", [("a", 1), ("b", 2)]),
])  # fmt: skip
def test_several_hosts_reach_asyncpg_in_order(text: str, expected: list[object]) -> None:
    """The first that answers is used, or the first that fits `target_session_attrs`."""
    addresses, _ = asyncpg_reads(text)
    assert addresses == expected


def test_what_a_session_is_to_be_like_is_passed_on() -> None:
    """Names, options, time-out, and the kind of server."""
    address = parse_database_url(
        "postgresql://ann@a,b/copy?application_name=my%20etl&options=-c%20search_path%3Dx"
        "&connect_timeout=1&target_session_attrs=read-write"
    )
    assert address.connect_args == {
        **POOLED,
        "host": ["a", "b"],
        "port": [5432, 5432],
        "timeout": 2.0,
        "target_session_attrs": "read-write",
        "server_settings": {"application_name": "my etl", "options": "-c search_path=x"},
    }
    assert address.ignored == ()


def test_neon_s_endpoint_option_and_a_plus_for_a_blank_are_understood() -> None:
    """`endpoint` is not an option of Postgres: Neon's proxy reads it."""
    neon = parse_database_url("postgres://ann@db/copy?options=endpoint%3Dep-cool-1")
    assert neon.connect_args["server_settings"] == {"options": "endpoint=ep-cool-1"}
    plus = parse_database_url("postgres://ann@db/copy?options=-c+search_path%3Dx")
    assert plus.connect_args["server_settings"] == {"options": "-c search_path=x"}


def test_other_drivers_parameters_are_ignored_by_name() -> None:
    """Services add their own to every address. None of them reaches the server."""
    address = parse_database_url(
        "postgresql://ann:pw@db/copy?channel_binding=require&gssencmode=disable&pool_mode=session"
        "&schema=public&prepareThreshold=0&connection_limit=5&supa=base-pooler.x&keepalives=1"
        "&connect_timeout=0"
    )
    assert address.connect_args == POOLED
    assert address.ignored == (
        "channel_binding",
        "connection_limit",
        "gssencmode",
        "keepalives",
        "pool_mode",
        "prepareThreshold",
        "schema",
        "supa",
    )


@pytest.mark.parametrize(("parameters", "mode", "verifies", "by_name"), [
    ("sslmode=disable", "disable", None, None),
    ("ssl=false", "disable", None, None),
    ("sslmode=allow", "allow", ssl.CERT_NONE, False),
    ("sslmode=prefer", "prefer", ssl.CERT_NONE, False),
    ("", "prefer", ssl.CERT_NONE, False),
    ("sslmode=require", "require", ssl.CERT_NONE, False),
    ("sslmode=REQUIRE", "require", ssl.CERT_NONE, False),
    ("ssl=true", "require", ssl.CERT_NONE, False),
    ("ssl=no-verify", "require", ssl.CERT_NONE, False),
    ("requiressl=1", "require", ssl.CERT_NONE, False),
    ("ssl=true&sslmode=verify-full&sslrootcert=ROOT", "verify_full", ssl.CERT_REQUIRED, True),
    ("sslmode=require&sslrootcert=ROOT", "require", ssl.CERT_REQUIRED, False),
    ("sslmode=verify-ca&sslrootcert=ROOT", "verify_ca", ssl.CERT_REQUIRED, False),
    ("sslmode=verify-full&sslrootcert=ROOT", "verify_full", ssl.CERT_REQUIRED, True),
    # A context made by us; asyncpg uses it unchanged.
    ("sslrootcert=system", "require", ssl.CERT_REQUIRED, True),
    ("sslmode=verify-full&sslrootcert=system", "require", ssl.CERT_REQUIRED, True),
])  # fmt: skip
def test_encryption_means_what_it_means_to_libpq(
    parameters: str,
    mode: str,
    verifies: ssl.VerifyMode | None,
    by_name: bool | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether encryption is tried or required, and what of the certificate is verified."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLMODE", raising=False)
    authorities = ssl.create_default_context().get_ca_certs(binary_form=True)
    if "ROOT" in parameters and not authorities:
        pytest.skip("this machine trusts no authority whose certificate could be used here")
    root = tmp_path / "root.pem"
    if authorities:
        root.write_text(ssl.DER_cert_to_PEM_cert(authorities[0]))
    _, read = asyncpg_reads(f"postgres://ann@db/copy?{parameters.replace('ROOT', str(root))}")
    assert read.sslmode.name == mode
    context = read.ssl
    if verifies is None:
        assert context is False
    else:
        assert context.verify_mode == verifies
        assert context.check_hostname == by_name


@pytest.mark.parametrize(("parameters", "words"), [
    ("sslmode=on", "none of disable, allow, prefer, require, verify-ca, verify-full"),
    ("sslmode=verify-full", "no certificate to verify with. Add sslrootcert=PATH, or"),
    ("sslmode=verify-ca", "sslrootcert=system"),
    ("sslmode=require&sslrootcert=system", "weaker sslmode. Use sslmode=verify-full"),
    ("sslmode=require&sslrootcert=/no/root.crt", "sslrootcert that is not there: /no/root.crt"),
    ("sslcert=/no/client.crt", "sslcert that is not there: /no/client.crt"),
])  # fmt: skip
def test_encryption_that_could_not_verify_is_refused_in_words(
    parameters: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now, rather than at the first connection."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        parse_database_url(f"postgres://ann@db/copy?{parameters}")
    assert words in str(caught.value)


@pytest.mark.parametrize(("text", "redacted"), [
    ("postgres://ann:sEcret@db:6432/copy?sslmode=disable", "postgresql://ann:***@db:6432/copy"),
    ("postgres://ann:sEcret@a:1,[::1]/copy", "postgresql://ann:***@a:1,[::1]/copy"),
    ("postgres://ann@/copy?host=/run/pg&password=sEcret", "postgresql://ann:***@/run/pg/copy"),
    ("postgres://db?sslpassword=sEcret", "postgresql://db/"),
    ("postgres://", "postgresql:///"),
])  # fmt: skip
def test_no_way_of_printing_an_address_shows_a_password(text: str, redacted: str) -> None:
    """Wherever it is in the address."""
    address = parse_database_url(text)
    assert address.redacted == redacted
    for shown in (repr(address), str(address), f"{address}", repr([address]), repr(address.url)):
        assert "sEcret" not in shown


def test_programs_of_postgres_get_the_address_in_their_variables() -> None:
    """Encoded characters decoded, and nothing that libpq does not know."""
    text = (
        "postgres://us%40er:p%2Fw@a,b:6432/db?ssl=true&pgbouncer=true&channel_binding=require"
        "&options=endpoint%3Dx+y&connect_timeout=3"
    )
    address = parse_database_url(text)
    assert address.variables == {
        **{"PGUSER": "us@er", "PGPASSWORD": "p/w", "PGHOST": "a,b", "PGPORT": ",6432"},
        **{"PGDATABASE": "db", "PGSSLMODE": "require", "PGCHANNELBINDING": "require"},
        **{"PGOPTIONS": "endpoint=x y", "PGCONNECT_TIMEOUT": "3"},
    }
    assert "p/w" not in repr(address)
    from_a_file = parse_database_url("postgres://u@h/db").with_password("kept")
    assert from_a_file.variables["PGPASSWORD"] == "kept"
