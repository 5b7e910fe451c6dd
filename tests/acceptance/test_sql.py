"""`sql`: a statement of one's own on the configured database, and psql."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from etl.loaders.embedded import EmbeddedPostgres
from tests.support.command import Command
from tests.support.guarded import PASSWORD, ROLES, guarded_server
from tests.support.keyboard import piped, type_into
from tests.support.sql import select, value

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def here(dsn: str) -> Command:
    """The command over a migrated database; the source is never asked."""
    return Command(NOWHERE, dsn)


async def test_a_statement_shows_its_result_as_a_table(here: Command) -> None:
    """Values as Postgres writes them, numbers on the right, and how many rows there are."""
    result = await here.run(
        "sql",
        "SELECT n, 'a' || chr(10) || 'b' AS text, '{\"a\": 1}'::jsonb AS document, "
        "tstzrange('2026-01-01Z', NULL) AS span, n = 1 AS first FROM generate_series(1, 10, 9) n",
    )
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        " n  text  document  span                          first",
        ' 1  a\\nb  {"a": 1}  [2026-01-01 00:00:00+00:00,)  true',
        '10  a\\nb  {"a": 1}  [2026-01-01 00:00:00+00:00,)  false',
        "2 rows",
    ]


async def test_json_keeps_types_and_digits(here: Command) -> None:
    """Numbers are numbers if JSON can hold them; a second column of a name gets a number."""
    result = await here.run(
        "sql",
        "SELECT 1 AS n, 2 AS n, 1.50 AS price, 12345678901234567890.123456 AS long, "
        "'NaN'::float8 AS nan, NULL AS nothing, '[1]'::json AS list, ARRAY['a', NULL] AS names, "
        "'infinity'::timestamptz AS forever",
        "--json",
    )
    assert result.document == {
        "columns": ["n", "n_2", *("price", "long", "nan", "nothing", "list", "names", "forever")],
        "rows": [
            {
                **{"n": 1, "n_2": 2, "price": 1.5, "long": "12345678901234567890.123456"},
                **{"nan": "nan", "nothing": None, "list": [1], "names": ["a", None]},
                "forever": "infinity",
            }
        ],
        "status": "SELECT 1",
    }


async def test_a_statement_is_committed_and_its_tag_shown(here: Command, dsn: str) -> None:
    """Also one that comes by standard input."""
    made = await here.run("sql", "CREATE TABLE notes (text text)")
    assert (made.code, made.out) == (0, "CREATE TABLE\n")
    for words in (("sql",), ("sql", "-")):
        result = await piped(here, "INSERT INTO notes\nVALUES ('kept');\n", *words)
        assert (result.code, result.out) == (0, "INSERT 0 1\n"), result.err
    assert await value(dsn, "SELECT count(*) FROM notes") == 2


@pytest.mark.parametrize(
    ("statement", "code", "said"),
    [
        ("selct", 2, r'The statement is wrong: syntax error at or near "selct"'),
        (
            "SELECT\nnothing FROM pg_class",
            2,
            r'The statement is wrong: column "nothing" does not exist \(line 2\)',
        ),
        (
            "SELECT oidd FROM pg_class",
            2,
            r'The statement is wrong: column "oidd" does not exist\. Perhaps you meant .*',
        ),
        (
            "SELECT 1 FROM recordings",
            2,
            r'The statement is wrong: relation "recordings" does not exist\. Name tables with .*',
        ),
        ("SELECT 1; SELECT 2", 2, r"That is more than one statement\. Give one at a time"),
        ("SELECT $1", 2, r"The statement has a placeholder, as in \$1\. Write the value .*"),
        ("COPY (SELECT 1) TO STDOUT", 2, r"COPY cannot use standard input or output here\. .*"),
        (" ", 2, r"There is no statement\. Give one, as in: posthog-etl sql '.*'"),
        ("SELECT 1 / 0", 1, r"Postgres refused the statement: division by zero"),
        ("VACUUM", 1, r"Postgres refused the statement: VACUUM cannot run inside .*"),
    ],
    ids=[
        *("syntax", "column of the second line", "a hint of Postgres", "table", "two statements"),
        *("placeholder", "copy", "nothing", "a value", "outside of a transaction"),
    ],
)
async def test_a_wrong_statement_gets_one_line(
    here: Command, statement: str, code: int, said: str
) -> None:
    """Exit code 2 if the statement is at fault, 1 if Postgres refuses what it asks for."""
    result = await here.run("sql", statement)
    assert (result.code, result.out) == (code, "")
    assert re.fullmatch(f"posthog-etl: {said}\n", result.err), result.err


async def test_a_connection_that_breaks_is_told_without_the_words_of_the_driver(
    here: Command,
) -> None:
    """The server ends it in the middle of a statement."""
    result = await here.run("sql", "SELECT pg_terminate_backend(pg_backend_pid())")
    assert result.code == 1
    assert re.fullmatch(
        r"posthog-etl: (The connection to Postgres broke|Postgres broke off: terminating .*)\. "
        r"Run it again.*\n",
        result.err,
    ), result.err


async def test_a_terminal_gets_psql_and_no_password_is_in_the_list_of_processes() -> None:
    """The password goes by the environment. Without a role that may log in, our words say so."""
    with guarded_server() as server:
        await select(server.dsn, ROLES[0])
        dsn = f"postgresql://loader:{PASSWORD}@127.0.0.1:{server.port}/postgres?pgbouncer=true"
        listing = r"\! tr '\0' ' ' </proc/$PPID/cmdline; echo"
        result = await type_into(
            Command(NOWHERE, dsn),
            "sql",
            typed=[("=>", listing), ("=>", "SELECT current_user;"), ("=>", r"\q")],
        )
        assert result.code == 0, result.out
        assert re.search(r"^.*/psql *$", result.out, re.MULTILINE), result.out
        assert re.search(r"^ loader$", result.out, re.MULTILINE), result.out
        assert PASSWORD not in result.out.replace("copyright", "")

        wrong = Command(NOWHERE, dsn.replace(PASSWORD, "wrong"))
        refused = await type_into(wrong, "sql", typed=[])
        assert (refused.code, "Postgres refused the password" in refused.out) == (1, True)


async def test_the_embedded_database_answers_too(tmp_path: Path) -> None:
    """It is started for the statement, and can be started again after it; psql is of its age."""
    tmp_path.chmod(0o755)
    command = Command(NOWHERE, "embedded", POSTHOG_ETL_DATA_DIR=str(tmp_path))
    result = await command.run("sql", "SELECT current_database() AS name")
    assert (result.code, result.out) == (0, "name\npostgres\n1 row\n"), result.err
    shown = await type_into(command, "sql", typed=[("=#", r"\q")])
    assert (shown.code, "WARNING" in shown.out) == (0, False), shown.out
    with EmbeddedPostgres.start(tmp_path / "postgres") as server:
        assert await value(server.dsn, "SELECT 1") == 1
