"""The tests' own instrument: the proxy acts where it says, and nowhere else."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.pgproxy import PgProxy, Point
from tests.support.postgres import Databases

# What a load does, once; its last word is "done".
CLIENT = """
import asyncio, asyncpg, sys

async def main():
    connection = await asyncpg.connect(sys.argv[1], statement_cache_size=0)
    async with connection.transaction():
        await connection.execute("CREATE TEMP TABLE staging (id int, text text)")
        rows = [(number, "x" * 1000) for number in range(2000)]
        await connection.copy_records_to_table("staging", records=rows)
        await connection.execute("INSERT INTO target SELECT id FROM staging WHERE id < $1", 9999)
        await connection.execute("UPDATE mark SET at = at + $1", 1)
    await connection.close()
    print("done")

asyncio.run(main())
"""
CHECKPOINT = re.compile(r"^\s*UPDATE mark\b")


@pytest.fixture
async def dsn(databases: Databases) -> AsyncIterator[str]:
    """Give a database with the two tables that the client writes to."""
    dsn = await databases.create_database()
    await ask(dsn, "CREATE TABLE target (id int); CREATE TABLE mark (at int)")
    await ask(dsn, "INSERT INTO mark VALUES (0)")
    yield dsn
    await databases.drop_database(dsn)


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[PgProxy]:
    """Give a proxy in front of that database."""
    async with PgProxy.in_front_of(dsn) as proxy:
        yield proxy


async def ask(dsn: str, sql: str) -> object:
    """Return the first value of a statement, asked past the proxy or through it."""
    connection = await asyncpg.connect(dsn)
    try:
        if ";" in sql:
            return await connection.execute(sql)
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def start_client(proxy: PgProxy) -> asyncio.subprocess.Process:
    """Start the client through the proxy."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        proxy.dsn,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def all_gone(dsn: str) -> None:
    """Wait until the server has noticed the end of every connection but ours."""
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(30):
        while await ask(dsn, others):
            pass


async def reaches_state(dsn: str, state: str) -> None:
    """Wait until the one other connection to the database is in this state."""
    states = (
        "SELECT string_agg(state, ' ') FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(30):
        while await ask(dsn, states) != state:
            pass


async def test_every_point_of_a_load_is_seen_once(proxy: PgProxy, dsn: str) -> None:
    """Nothing is changed on the way, and the counts are those of the conversation."""
    checkpoints = proxy.watch(Point.AFTER_CHECKPOINT, sql=CHECKPOINT)
    client = await start_client(proxy)
    output, errors = await client.communicate()
    assert output == b"done\n", errors.decode()
    assert await ask(dsn, "SELECT count(*) FROM target") == 2000
    assert checkpoints.seen == 1
    # asyncpg asks nothing else; its own INSERTs, if any, would show here.
    assert {point: proxy.seen[point] for point in Point if point != Point.AFTER_STATEMENT} == {
        Point.BEFORE_BEGIN: 1,
        Point.CREATE_TABLE: 1,
        Point.IN_COPY: 1,
        Point.AFTER_COPY: 1,
        Point.AFTER_UPSERT: 1,
        Point.BEFORE_COMMIT: 1,
        Point.AFTER_COMMIT_BEFORE_ANSWER: 1,
        Point.ON_TERMINATE: 1,
    }


@pytest.mark.parametrize("point", list(Point), ids=lambda point: point.name.lower())
async def test_a_client_killed_at_a_point_has_committed_only_after_the_commit(
    proxy: PgProxy, dsn: str, point: Point
) -> None:
    """The server is left with everything or nothing, by the side of COMMIT the point is on."""
    client = await start_client(proxy)
    sql = CHECKPOINT if point is Point.AFTER_CHECKPOINT else None
    rule = proxy.when(point, 1, client.kill, sql=sql)
    output, _ = await client.communicate()
    assert client.returncode == -signal.SIGKILL
    assert output == b""
    assert rule.fired.is_set()
    await all_gone(dsn)
    committed = point in (Point.AFTER_COMMIT_BEFORE_ANSWER, Point.ON_TERMINATE)
    assert await ask(dsn, "SELECT count(*) FROM target") == (2000 if committed else 0)
    assert await ask(dsn, "SELECT at FROM mark") == (1 if committed else 0)


@pytest.mark.parametrize("point", [Point.IN_COPY, Point.AFTER_UPSERT, Point.BEFORE_COMMIT])
async def test_a_stopped_client_is_held_until_released_and_then_goes_on(
    proxy: PgProxy, dsn: str, point: Point
) -> None:
    """The server waits in the middle of its transaction, locks and all, for as long as we like."""
    client = await start_client(proxy)
    rule = proxy.when(point, 1, lambda: client.send_signal(signal.SIGSTOP))
    await rule.fired.wait()
    await reaches_state(dsn, "active" if point is Point.IN_COPY else "idle in transaction")
    client.send_signal(signal.SIGCONT)
    proxy.release()
    output, errors = await client.communicate()
    assert output == b"done\n", errors.decode()
    assert await ask(dsn, "SELECT count(*) FROM target") == 2000


async def test_the_nth_time_counts_from_when_the_rule_was_made(proxy: PgProxy) -> None:
    """A rule looks at what is to come, and acts once."""
    acted: list[int] = []
    await ask(proxy.dsn, "BEGIN; COMMIT")
    rule = proxy.when(Point.BEFORE_BEGIN, 2, lambda: acted.append(rule.seen), hold=False)
    for _ in range(3):
        await ask(proxy.dsn, "BEGIN; COMMIT")
    assert acted == [2]
    assert rule.seen == 3
    assert proxy.seen[Point.BEFORE_BEGIN] == 4


async def test_named_statements_are_known_by_their_text(proxy: PgProxy) -> None:
    """A prepared statement is executed many times after its text was sent once."""
    rule = proxy.watch(Point.AFTER_STATEMENT, sql=re.compile(r"generate_series"))
    connection = await asyncpg.connect(proxy.dsn)
    prepared = await connection.prepare("SELECT generate_series(1, $1::int)")
    for last in range(3):
        assert len(await prepared.fetch(last)) == last
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.fetch("SELECT 1 / $1::int", 0)
    assert len(await prepared.fetch(7)) == 7
    await connection.close()
    assert rule.seen == 4


async def test_cut_drops_connections_and_refuse_takes_no_new_ones(proxy: PgProxy) -> None:
    """As when a network fails, and when it comes back."""
    connection = await asyncpg.connect(proxy.dsn)
    proxy.cut()
    with pytest.raises((asyncpg.ConnectionDoesNotExistError, OSError)):
        await connection.fetchval("SELECT pg_sleep(30)")
    proxy.refuse(True)
    with pytest.raises((asyncpg.ConnectionDoesNotExistError, OSError)):
        await asyncpg.connect(proxy.dsn)
    proxy.refuse(False)
    assert await ask(proxy.dsn, "SELECT 1") == 1


async def test_a_template_s_copy_has_what_the_template_has(databases: Databases) -> None:
    """Each test's database is such a copy, and dropped with whoever is still connected."""
    databases = Databases(databases.dsn)
    template = await databases.create_database(name=databases.template_name)
    await ask(template, "CREATE TABLE migrated AS SELECT 42 AS answer;")
    copy = await databases.create_database(databases.template_name)
    connection = await asyncpg.connect(copy)
    assert await connection.fetchval("SELECT answer FROM migrated") == 42
    await databases.drop_all()
    for dsn in (copy, template):
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(dsn)
