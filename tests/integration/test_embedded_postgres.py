"""The embedded Postgres: shared, stopped by the last user, and found again after any crash."""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from etl.errors import ConfigurationError
from etl.loaders.embedded import EmbeddedPostgres
from tests.support.books import until
from tests.support.postgres import FORGETFUL, server_directory

# Another process that uses the server: says where it is, then leaves in order when told to.
USER = """
import json, sys
from pathlib import Path
from etl.loaders.embedded import EmbeddedPostgres

with EmbeddedPostgres.start(Path(sys.argv[1]), options={"fsync": "off"}) as server:
    print(json.dumps({"pid": server.server_pid, "dsn": server.dsn}), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def new_dir() -> Iterator[Path]:
    """Give an empty data directory; a server that a failed test leaves over it is ended."""
    with server_directory() as directory:
        yield directory
        with contextlib.suppress(FileNotFoundError):
            pid = int((directory / "postgres/postmaster.pid").read_text().split()[0])
            if runs(pid):
                os.kill(pid, signal.SIGQUIT)
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def made_dir() -> Iterator[Path]:
    """Make one data directory for those tests that need no new one."""
    with server_directory() as directory:
        EmbeddedPostgres.start(directory, options=FORGETFUL).close()
        yield directory


@pytest.fixture
def data_dir(made_dir: Path, new_dir: Path) -> Path:
    """Give a data directory that has been in use; a copy of its own for each test."""
    shutil.copytree(made_dir / "postgres", new_dir / "postgres")
    return new_dir


@pytest.fixture
def start_user() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give a function that starts another process that uses the server of a directory."""
    started: list[subprocess.Popen[str]] = []

    def start(directory: Path, *prefix: str, script: str = USER) -> subprocess.Popen[str]:
        command = [*prefix, sys.executable, "-c", script, str(directory)]
        pipe = subprocess.PIPE
        user = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(user)
        return user

    yield start
    for user in started:
        user.kill()
        user.communicate()


def says(user: subprocess.Popen[str]) -> dict[str, str | int]:
    """Wait until the other process has a server, and return what it says of it."""
    assert user.stdout is not None
    line = user.stdout.readline()
    assert line, user.communicate()[1]
    answer: dict[str, str | int] = json.loads(line)
    return answer


def environment_of(pid: int) -> bytes:
    """Return the environment that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes()


def runs(pid: int) -> bool:
    """Say whether a server of this process id runs; a zombie does not."""
    try:
        server = psutil.Process(pid)
        return bool(server.name() == "postgres" and server.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_locked(path: Path) -> bool:
    """Say whether somebody has the file to himself."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def owner_of(path: Path) -> int:
    """Return whose file, directory or process it is."""
    return path.stat().st_uid


async def ask(dsn: str, sql: str) -> object:
    """Return the one value that a statement gives."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def crash(server_pid: int, dsn: str) -> None:
    """Kill the postmaster, and wait until nobody listens on its socket any more."""
    os.kill(server_pid, signal.SIGKILL)
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        async with asyncio.timeout(30):
            while True:
                await ask(dsn, "SELECT 1")


async def test_a_new_directory_gets_a_server_that_keeps_what_is_written(new_dir: Path) -> None:
    """Started, written to, stopped, started again: it is still there."""
    with EmbeddedPostgres.start(new_dir) as server:
        await ask(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert await ask(server.dsn, "SHOW fsync") == "on"
        assert str(await ask(server.dsn, "SHOW server_version")).startswith(server.version)
    assert not (new_dir / "postgres/postmaster.pid").exists()
    with EmbeddedPostgres.start(new_dir) as server:
        assert await ask(server.dsn, "SELECT answer FROM kept") == 42


async def test_options_reach_the_server(data_dir: Path) -> None:
    """A setting given at the start counts, spaces and quotes in it too."""
    options = {"fsync": "off", "cluster_name": "it's a name"}
    with EmbeddedPostgres.start(data_dir, options=options) as server:
        assert await ask(server.dsn, "SHOW fsync") == "off"
        assert await ask(server.dsn, "SHOW cluster_name") == "it's a name"


async def test_the_server_is_private(data_dir: Path) -> None:
    """No TCP; a socket directory for its owner alone; none of our environment."""
    os.environ["ETL_TEST_SECRET"] = "phx_recognisable"
    try:
        with EmbeddedPostgres.start(data_dir, options=FORGETFUL) as server:
            assert await ask(server.dsn, "SHOW listen_addresses") == ""
            assert server.socket_dir.stat().st_mode & 0o777 == 0o700
            if sys.platform == "linux":
                assert b"phx_recognisable" not in environment_of(server.server_pid)
                assert b"PATH=" in environment_of(server.server_pid)
    finally:
        del os.environ["ETL_TEST_SECRET"]


async def test_the_server_belongs_to_no_terminal(data_dir: Path) -> None:
    """Ctrl-C goes to a process group, a hang-up to a session: the server is in neither."""
    with EmbeddedPostgres.start(data_dir, options=FORGETFUL) as server:
        assert os.getpgid(server.server_pid) != os.getpgrp()
        assert os.getsid(server.server_pid) != os.getsid(0)


async def test_users_share_one_server_and_the_last_one_stops_it(
    data_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    """Whoever started it: it ends with the one who leaves last."""
    first = start_user(data_dir)
    pid = says(first)["pid"]
    with EmbeddedPostgres.start(data_dir) as server:
        assert server.server_pid == pid
        first.communicate("leave\n", timeout=60)
        assert first.returncode == 0
        assert await ask(server.dsn, "SELECT 1") == 1
    assert not runs(server.server_pid)


async def test_closing_twice_does_no_harm(data_dir: Path) -> None:
    """The second time, the server may be somebody else's already."""
    server = EmbeddedPostgres.start(data_dir, options=FORGETFUL)
    server.close()
    with EmbeddedPostgres.start(data_dir, options=FORGETFUL) as other:
        server.close()
        assert await ask(other.dsn, "SELECT 1") == 1


async def test_a_server_whose_users_were_killed_is_taken_over(
    data_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    """It goes on running; the next user finds it, and as the last one stops it."""
    user = start_user(data_dir)
    pid = int(says(user)["pid"])
    user.kill()
    user.communicate()
    with EmbeddedPostgres.start(data_dir) as server:
        assert server.server_pid == pid
        assert await ask(server.dsn, "SELECT 1") == 1

    async def ended() -> bool:
        return not runs(pid)

    # It says that it is down a moment before its process is gone.
    await until(ended, "the server's process ends")


async def test_after_a_crash_of_everything_what_was_committed_is_there(
    data_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    """User and server are killed outright; the next start replays the log."""
    user = start_user(data_dir)
    answer = says(user)
    pid, dsn = int(answer["pid"]), str(answer["dsn"])
    await ask(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    user.kill()
    await crash(pid, dsn)
    with EmbeddedPostgres.start(data_dir, options=FORGETFUL) as server:
        assert server.server_pid != pid
        assert await ask(server.dsn, "SELECT answer FROM kept") == 42


async def test_a_stale_file_whose_process_id_is_in_use_again_is_seen_through(
    data_dir: Path,
) -> None:
    """In a container the same numbers come back: here the old server's is this test's own."""
    with EmbeddedPostgres.start(data_dir, options=FORGETFUL) as server:
        stale = (data_dir / "postgres/postmaster.pid").read_text()
        lock = server.socket_dir / f".s.PGSQL.{server.port}.lock"
        stale_lock = lock.read_text()
    me = str(os.getpid())
    (data_dir / "postgres/postmaster.pid").write_text(re.sub(r"^\d+", me, stale))
    server.socket_dir.mkdir(exist_ok=True)
    lock.write_text(re.sub(r"^\d+", me, stale_lock))
    with EmbeddedPostgres.start(data_dir, options=FORGETFUL) as again:
        assert await ask(again.dsn, "SELECT 1") == 1


async def test_a_dead_servers_child_that_still_listens_is_no_server(
    data_dir: Path,
    start_user: Callable[..., subprocess.Popen[str]],
) -> None:
    """A child forked just before its server was killed has its lock and its socket for a moment."""
    user = start_user(data_dir)
    answer = says(user)
    pid, dsn = int(answer["pid"]), str(answer["dsn"])
    user.kill()
    await crash(pid, dsn)
    with (data_dir / "server.lock").open() as lock, socket.socket(socket.AF_UNIX) as listener:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        path = data_dir / "socket/.s.PGSQL.5432"
        path.unlink()
        listener.bind(str(path))
        listener.listen()
        start = asyncio.create_task(asyncio.to_thread(EmbeddedPostgres.start, data_dir))
        (await asyncio.to_thread(listener.accept))[0].close()
    with await start as server:
        assert server.server_pid != pid
        assert await ask(server.dsn, "SELECT 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
async def test_a_zombie_postmaster_counts_as_dead(
    data_dir: Path,
    start_user: Callable[..., subprocess.Popen[str]],
) -> None:
    """A container without an init process keeps the dead server's entry for ever."""
    adopt = "import ctypes; assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0"
    again = """
import os, signal
with EmbeddedPostgres.start(Path(sys.argv[1])) as server:
    os.kill(server.server_pid, signal.SIGKILL)
    entry = Path(f"/proc/{server.server_pid}/stat")
    while ") Z" not in entry.read_text():
        pass
    with EmbeddedPostgres.start(Path(sys.argv[1])) as other:
        assert other.server_pid != server.server_pid and ") Z" in entry.read_text()
"""
    user = start_user(data_dir, script=f"{adopt}\n{USER}\n{again}")
    _, errors = user.communicate("leave\n", timeout=60)
    assert user.returncode == 0, errors


async def test_users_who_start_at_once_get_one_server(
    new_dir: Path,
    start_user: Callable[..., subprocess.Popen[str]],
) -> None:
    """One makes the directory, the others wait for it."""
    users = [start_user(new_dir) for _ in range(4)]
    pids = {says(user)["pid"] for user in users}
    assert len(pids) == 1
    for user in users:
        user.communicate("leave\n", timeout=60)
    assert [user.returncode for user in users] == [0, 0, 0, 0]
    assert not runs(int(pids.pop()))


async def test_half_a_data_directory_is_made_anew(new_dir: Path) -> None:
    """Somebody was killed while it was being made."""
    (new_dir / "postgres.new/base").mkdir(parents=True)
    (new_dir / "postgres.new/PG_VERSION").write_text("18\n")
    with EmbeddedPostgres.start(new_dir, options=FORGETFUL) as server:
        assert await ask(server.dsn, "SELECT 1") == 1
    assert not (new_dir / "postgres.new").exists()


async def test_whoever_makes_the_directory_may_be_killed_at_it(
    new_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    """The program that fills the directory outlives its caller; the next one waits for its end."""
    user = start_user(new_dir)
    deadline = time.monotonic() + 30
    while not (new_dir / "postgres.new/base").exists():
        assert time.monotonic() < deadline
    user.kill()
    user.communicate()
    with EmbeddedPostgres.start(new_dir, options=FORGETFUL) as server:
        assert await ask(server.dsn, "SELECT 1") == 1


def modes_in(directory: Path) -> dict[str, int]:
    """Return the permissions of the directory and of the files in it."""
    files = {path.name: path for path in directory.iterdir() if path.is_file()}
    return {name: path.stat().st_mode & 0o777 for name, path in {**files, ".": directory}.items()}


PRIVATE = {".": 0o700} | dict.fromkeys(
    ("start.lock", "users.lock", "server.lock", "server.log"), 0o600
)


@pytest.mark.parametrize("made_by", ["this version", "an older version"])
async def test_nobody_else_may_enter_read_the_log_or_hold_the_locks(
    new_dir: Path, made_by: str
) -> None:
    """Whatever the umask; what an older version left open to everybody is closed."""
    directory = new_dir / "data"
    before = os.umask(0)
    try:
        if made_by == "an older version":
            directory.mkdir(mode=0o755)
            for name in ("start.lock", "users.lock", "server.lock", "server.log", "server.log.1"):
                (directory / name).touch(mode=0o644)
        with EmbeddedPostgres.start(directory, options=FORGETFUL) as server:
            assert await ask(server.dsn, "SELECT 1") == 1
    finally:
        os.umask(before)
    older = {"server.log.1": 0o600} if made_by == "an older version" else {}
    assert modes_in(directory) == PRIVATE | older


async def test_another_major_version_s_directory_is_refused_in_words(data_dir: Path) -> None:
    """Postgres cannot open it, and we do not touch it."""
    (data_dir / "postgres/PG_VERSION").write_text("9\n")
    with pytest.raises(ConfigurationError, match="made by Postgres 9"):
        EmbeddedPostgres.start(data_dir)


async def test_a_server_that_does_not_start_says_its_last_words(data_dir: Path) -> None:
    """The reason is in the error, not only in a file; and nothing stays locked."""
    with pytest.raises(ConfigurationError, match="no_such_setting"):
        EmbeddedPostgres.start(data_dir, options={"no_such_setting": "1"})
    with EmbeddedPostgres.start(data_dir, options=FORGETFUL) as server:
        assert await ask(server.dsn, "SELECT 1") == 1


async def test_a_path_that_cannot_be_a_data_directory_is_named(tmp_path: Path) -> None:
    """A file stands in the way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file.*cannot be used for Postgres"):
        EmbeddedPostgres.start(tmp_path / "file")


@pytest.mark.parametrize("name", ["x" * 90, "a b,$HOME'\"`"], ids=["long", "odd"])
async def test_a_path_unfit_for_a_socket_moves_only_the_socket(new_dir: Path, name: str) -> None:
    """A socket's address is short and clients split it at commas: it goes to a private place."""
    with EmbeddedPostgres.start(new_dir / name, options=FORGETFUL) as server:
        assert new_dir not in server.socket_dir.parents
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        assert await ask(server.dsn, "SELECT 1") == 1
    assert not server.socket_dir.exists()


async def test_a_server_killed_under_its_users_is_started_by_the_next(data_dir: Path) -> None:
    """The address stays the same, and the last of all users stops the new one."""
    with EmbeddedPostgres.start(data_dir, options=FORGETFUL) as first:
        await crash(first.server_pid, first.dsn)
        second = EmbeddedPostgres.start(data_dir, options=FORGETFUL)
        second.close()
        assert await ask(first.dsn, "SELECT 1") == 1
    assert not runs(second.server_pid)


without_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can give up the right to user namespaces, with setpriv",
)
NO_NAMESPACES = ("setpriv", "--bounding-set=-setfcap", "--inh-caps=-setfcap")


@without_namespaces
async def test_root_without_user_namespaces_runs_the_server_as_nobody(
    new_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    """Only what is the server's own changes hands; root uses the same directory afterwards."""
    user = start_user(new_dir, *NO_NAMESPACES)
    pid = int(says(user)["pid"])
    assert owner_of(Path("/proc") / str(pid)) == owner_of(new_dir / "postgres") != 0
    assert owner_of(new_dir) == 0
    assert new_dir.stat().st_mode & 0o777 == 0o710
    assert new_dir.stat().st_gid == (new_dir / "postgres").stat().st_gid
    with EmbeddedPostgres.start(new_dir) as server:
        assert await ask(server.dsn, "SELECT 1") == 1
        user.communicate("leave\n", timeout=60)


@without_namespaces
async def test_a_directory_that_nobody_can_reach_is_refused_and_left_alone(
    new_dir: Path, start_user: Callable[..., subprocess.Popen[str]]
) -> None:
    """No permission of a parent is changed; the error says where to go instead."""
    private = new_dir / "private"
    private.mkdir(mode=0o700)
    user = start_user(private / "data", *NO_NAMESPACES)
    _, errors = user.communicate(timeout=60)
    assert user.returncode != 0
    assert "Run as an ordinary user, or name a data directory that every user can reach" in errors
    assert private.stat().st_mode & 0o777 == 0o700


async def test_who_comes_while_the_last_one_leaves_gets_a_server_that_stays(data_dir: Path) -> None:
    """Starting waits until stopping is over, here for a server that does not stop at once."""
    last = EmbeddedPostgres.start(data_dir, options=FORGETFUL)
    os.kill(last.server_pid, signal.SIGSTOP)
    leaving = asyncio.create_task(asyncio.to_thread(last.close))
    async with asyncio.timeout(30):
        while not is_locked(data_dir / "users.lock"):
            await asyncio.wait({leaving}, timeout=0.01)
    coming = asyncio.create_task(
        asyncio.to_thread(EmbeddedPostgres.start, data_dir, options=FORGETFUL)
    )
    done, _ = await asyncio.wait({leaving, coming}, timeout=0.5)
    assert not done
    os.kill(last.server_pid, signal.SIGCONT)
    await leaving
    with await coming as server:
        assert server.server_pid != last.server_pid
        assert await ask(server.dsn, "SELECT 1") == 1
