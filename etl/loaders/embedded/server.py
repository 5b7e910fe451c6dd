"""A real Postgres kept in a data directory, shared by whoever needs it and stopped by the last.

Three lock files say what is going on, and the kernel lets go of them however a process ends:

- `start.lock`: held for a moment, by whoever starts or stops the server;
- `users.lock`: held shared by every user of the server; who can have it alone is the last;
- `server.lock`: held by the server and its children, which inherit it. Free means that nothing
  runs here, whatever `postmaster.pid` says: process ids are used again, above all in containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from etl.errors import ConfigurationError
from etl.loaders.embedded.programs import Programs, choose_programs
from etl.loaders.embedded.user import ServerUser, choose_user, keep_private

PORT = 5432

# Replaying the log after a crash takes its time.
_READY_WITHIN_S = 120.0
_STOPPED_WITHIN_S = 60.0
_POLL_EVERY_S = 0.01

# The kernel takes 103 bytes (macOS) or 107 for the whole address of a socket.
_SOCKET_DIR_LENGTH_BYTES = 85

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "shared_buffers": "128MB",
    "autovacuum": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """One user's share in the server of a data directory; a context manager that gives it back.

    Synchronous: from a coroutine, call it through `asyncio.to_thread`. All users run on one
    machine, and in one container: a server ends with the container that started it.

    `dsn` names the superuser, the database `postgres` and the socket directory, without password:
    only the owner of the directory (and root) gets through it. `version` is the major version.
    `server_pid` is the postmaster's.
    """

    def __init__(self, data_dir: Path, users: _Lock, postmaster: _Postmaster) -> None:
        self._data_dir = data_dir
        self._users: _Lock | None = users
        self.socket_dir = postmaster.socket_dir
        self.port = postmaster.port
        self.server_pid = postmaster.pid
        self.version = str(_made_by(_cluster(data_dir)))
        self.dsn = (
            f"postgresql://postgres@/postgres?host={quote(str(self.socket_dir))}&port={self.port}"
        )

    @classmethod
    def start(cls, data_dir: Path, *, options: Mapping[str, str] | None = None) -> Self:
        """Return a share in the server of `data_dir`, which is made and started if need be.

        `options` are Postgres settings; they count only for the one who starts the server.
        Any number of processes may do this at once: one of them makes the directory, all are
        served. Takes over a server whose users were all killed, and clears up after a crash.

        Raises ConfigurationError when there is no Postgres, when another major version made the
        directory, when it cannot be used, and when the server does not start (says its last
        words). Safe to repeat.
        """
        data_dir = data_dir.resolve()
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _close_to_others(data_dir)
            with _start_lock(data_dir):
                users = _Lock(data_dir / "users.lock")
                try:
                    users.take(shared=True)
                    return cls(data_dir, users, _ready(data_dir, {**_SETTINGS, **(options or {})}))
                except BaseException:
                    users.close()
                    raise
        except OSError as exc:
            raise ConfigurationError(
                f"{exc.filename or data_dir} cannot be used for Postgres: {exc.strerror or exc}",
                remedy="Set POSTHOG_ETL_DATA_DIR to another directory, or DATABASE_URL to a server",
            ) from exc

    def close(self) -> None:
        """Give the share back; the last user stops the server (fast shutdown). Safe to repeat.

        Raises ConfigurationError if another process has the start lock for minutes.
        """
        users, self._users = self._users, None
        if users is None:
            return
        with contextlib.closing(users), _start_lock(self._data_dir):
            if users.take():
                _stop(self._data_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Lock:
    """A lock on a file, dropped when it is closed and no child holds the descriptor any more."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        keep_private(self.fd, path.parent)

    def take(self, *, shared: bool = False) -> bool:
        """Take the lock if it can be had at once. A lock already held is changed, or lost."""
        try:
            fcntl.flock(self.fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """What `postmaster.pid` says of a server that was started."""

    pid: int
    port: int
    socket_dir: Path
    ready: bool

    @classmethod
    def read(cls, cluster: Path) -> _Postmaster | None:
        """Read it; None while it is missing or half written."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            return cls(int(lines[0]), int(lines[3]), Path(lines[4]), lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def answers(self) -> bool:
        """Say whether somebody listens: a dead server's file may still call it ready."""
        if not self.ready:
            return False
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            return client.connect_ex(str(self.socket_dir / f".s.PGSQL.{self.port}")) == 0

    def serves(self, cluster: Path) -> bool:
        """Say whether the process of this id is a server over `cluster`, and not a stranger."""
        if sys.platform == "linux":
            try:
                # A zombie has an empty command line.
                line = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            except OSError:
                return False
            return os.fsencode(cluster) in line.split(b"\0")
        ps = ["ps", "-ww", "-o", "command=", "-p", str(self.pid)]
        return str(cluster) in subprocess.run(ps, capture_output=True, text=True).stdout


def _cluster(data_dir: Path) -> Path:
    return data_dir / "postgres"


def _made_by(cluster: Path) -> int | None:
    """Return the major version that made the cluster, None when there is none yet."""
    try:
        return int((cluster / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _start_lock(data_dir: Path) -> Iterator[None]:
    deadline = time.monotonic() + _READY_WITHIN_S + _STOPPED_WITHIN_S
    with contextlib.closing(_Lock(data_dir / "start.lock")) as lock:
        while not lock.take():
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"Another program has been starting or stopping the Postgres of {data_dir} "
                    "for minutes",
                    remedy="End it, and start again",
                )
            time.sleep(_POLL_EVERY_S)
        yield


def _ready(data_dir: Path, settings: Mapping[str, str]) -> _Postmaster:
    """Wait until the server answers; start it whenever nothing runs here, but only once."""
    started = False
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.closing(_Lock(data_dir / "server.lock")) as alive:
            if alive.take():
                if started:
                    raise ConfigurationError(f"Postgres did not start: {_last_words(data_dir)}")
                _launch(data_dir, settings, alive)
                started = True
        postmaster = _Postmaster.read(_cluster(data_dir))
        # A dead server's children may still listen for a moment.
        if postmaster and postmaster.answers() and postmaster.serves(_cluster(data_dir)):
            return postmaster
        time.sleep(_POLL_EVERY_S)
    raise ConfigurationError(
        f"Postgres is not ready after {_READY_WITHIN_S:.0f} seconds: {_last_words(data_dir)}",
        remedy="Start again: it goes on with what it is doing",
    )


def _launch(data_dir: Path, settings: Mapping[str, str], alive: _Lock) -> None:
    """Start the server, over a new cluster if there is none. Nothing runs here but ourselves."""
    cluster = _cluster(data_dir)
    programs = choose_programs(_made_by(cluster))
    user = choose_user(data_dir, cluster, programs.postgres)
    if not cluster.exists():
        _make_cluster(data_dir, programs, user, settings, alive)
    user.own(cluster)
    old = _Postmaster.read(cluster)
    if old is None or not old.serves(cluster):
        # Postgres believes a stale file when its process id is in use again, or a zombie's.
        (cluster / "postmaster.pid").unlink(missing_ok=True)
    options = {**settings, "unix_socket_directories": str(_socket_dir(data_dir, user))}
    log = _log(data_dir)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with open(log, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
        keep_private(output.fileno(), data_dir)
        user.run(
            data_dir,
            programs.postgres,
            "-D",
            cluster,
            *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            output=output.fileno(),
            keep_open=[alive.fd],
            detach=True,
        )


def _make_cluster(
    data_dir: Path,
    programs: Programs,
    user: ServerUser,
    settings: Mapping[str, str],
    alive: _Lock,
) -> None:
    """Make the cluster under another name first: half a cluster never gets the right one."""
    new = data_dir / "postgres.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    user.own(new)
    # Byte order for text wherever the copy lives; from 17 on also upper and lower case of every
    # language, without the system's locales.
    choices = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    if programs.major >= 17:
        choices += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    if settings.get("fsync") == "off":
        choices += ["--no-sync"]
    done = user.run(
        data_dir,
        programs.initdb,
        "-D",
        new,
        *choices,
        output=subprocess.PIPE,
        # Should we be killed now, initdb goes on writing: the next one waits until it is done.
        keep_open=[alive.fd],
    )
    if done.returncode != 0:
        raise ConfigurationError(
            f"Postgres could not make its data directory: {' '.join(done.stdout.split())[-500:]}",
            remedy="Put that right, or set DATABASE_URL",
        )
    new.rename(_cluster(data_dir))
    parent = os.open(data_dir, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _socket_dir(data_dir: Path, user: ServerUser) -> Path:
    """Make an empty private directory for the socket, elsewhere if its path is unfit for one."""
    inside = data_dir / "socket"
    elsewhere = "posthog-etl-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    # Clients take a comma, and some a colon, in a host for more than one.
    path = next(
        directory
        for directory in (inside, Path(tempfile.gettempdir(), elsewhere), Path("/tmp", elsewhere))
        if len(os.fsencode(directory)) <= _SOCKET_DIR_LENGTH_BYTES
        and re.fullmatch(r"[\w ./+=~-]+", str(directory))
    )
    if path.exists():
        # Refused when it is a link or another's. What a crash left in it would stop the server.
        shutil.rmtree(path)
    path.mkdir(mode=0o700)
    user.own(path)
    return path


def _stop(data_dir: Path) -> None:
    """Stop the server in order, and if that takes a minute, at once; both lose nothing."""
    cluster = _cluster(data_dir)
    postmaster = _Postmaster.read(cluster)
    if postmaster is None or not postmaster.serves(cluster):
        return
    for number in (signal.SIGINT, signal.SIGQUIT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(postmaster.pid, number)
        deadline = time.monotonic() + _STOPPED_WITHIN_S
        while time.monotonic() < deadline:
            with contextlib.closing(_Lock(data_dir / "server.lock")) as alive:
                if alive.take():
                    shutil.rmtree(postmaster.socket_dir, ignore_errors=True)
                    return
            time.sleep(_POLL_EVERY_S)


def _close_to_others(data_dir: Path) -> None:
    """Leave the directory and what older versions left readable to its owner and the server."""
    cluster = _cluster(data_dir)
    owner = (cluster if cluster.exists() else data_dir).stat()
    ServerUser(owner.st_uid, owner.st_gid).admit(data_dir)
    log = _log(data_dir)
    for path in (log, log.with_suffix(".log.1")):
        with contextlib.suppress(OSError), path.open("rb") as file:
            keep_private(file.fileno(), data_dir)


def _log(data_dir: Path) -> Path:
    return data_dir / "server.log"


def _last_words(data_dir: Path) -> str:
    log = _log(data_dir)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    words = [line for line in lines if "FATAL" in line or "ERROR" in line] or lines
    return " / ".join(line.strip() for line in words[-3:] if line.strip()) or "no word in its log"
