"""As whom Postgres runs: it refuses uid 0, so root needs somebody else to be.

Nothing outside the data directory is changed for it: no user added, no parent made readable.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from etl.errors import ConfigurationError
from etl.loaders.embedded import launch

# The server lives longer than we do. It gets none of our environment, which holds the API key
# and could hold PGDATA, PGPORT and their like.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"} | {
    name: os.environ[name]
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    if name in os.environ
}


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Who runs the server: ourselves, ourselves in a user namespace, or (as root) another."""

    uid: int
    gid: int
    namespace: bool = False

    def run(
        self,
        directory: Path,
        *command: str | Path,
        output: int,
        keep_open: Sequence[int] = (),
        detach: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, with `directory` as its working directory.

        `output` takes what it writes: a descriptor, or subprocess.PIPE. `keep_open` are the
        descriptors it inherits, beyond those three none. With `detach` this returns at once and
        leaves the program running in a session of its own.
        """
        script = [sys.executable, "-I", "-S", launch.__file__]
        return subprocess.run(
            [*script, self._name, "detach" if detach else "wait", directory, *command],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=keep_open,
            text=True,
        )

    def own(self, path: Path) -> None:
        """Give `path` and everything below it to this user. Safe to repeat."""
        if path.stat().st_uid == self.uid:
            return
        # From the bottom up: the top changes hands when everything below it has.
        for directory, _, names in os.walk(path, topdown=False):
            for entry in (*(os.path.join(directory, name) for name in names), directory):
                os.chown(entry, self.uid, self.gid, follow_symlinks=False)

    def admit(self, directory: Path) -> None:
        """Close `directory` to all but its owner and this user, who may pass through it.

        Leaves alone what belongs to somebody else. Safe to repeat.
        """
        owner = directory.stat()
        if os.geteuid() not in (0, owner.st_uid):
            return
        if self.uid == owner.st_uid:
            directory.chmod(0o700)
        else:
            os.chown(directory, -1, self.gid)
            directory.chmod(0o710)

    @property
    def _name(self) -> str:
        if self.namespace:
            return "namespace"
        return "same" if self.uid == os.geteuid() else f"{self.uid}:{self.gid}"


def choose_user(data_dir: Path, cluster: Path, postgres: Path) -> ServerUser:
    """Return who is to run the server over `cluster`, a directory inside `data_dir`.

    An ordinary user runs it as himself; for root it is the owner of the directory. A user
    namespace, in which we are `nobody`, serves root over a directory of root's and a user without
    a name (as containers have them: initdb wants one). Root's last resort is the real `nobody`.

    Raises ConfigurationError when the cluster is another's, or none of these can run it.
    """
    owner = (cluster if cluster.exists() else data_dir).stat()
    me = ServerUser(os.geteuid(), os.getegid())
    if me.uid != 0 and cluster.exists() and owner.st_uid != me.uid:
        raise ConfigurationError(
            f"{cluster} belongs to another user (uid {owner.st_uid})",
            remedy="Name a data directory of your own",
        )
    if me.uid == 0 and owner.st_uid != 0:
        candidates = [ServerUser(owner.st_uid, owner.st_gid)]
    elif me.uid != 0 and _has_name(me.uid):
        candidates = [me]
    else:
        candidates = [replace(me, namespace=True)] if sys.platform == "linux" else []
        candidates.append(_nobody() if me.uid == 0 else me)
    refusals = []
    for user in candidates:
        # Tells at once whether the change of user is allowed, and whether this user reaches
        # both the program and the directory.
        user.admit(data_dir)
        trial = user.run(data_dir, postgres, "--version", output=subprocess.PIPE)
        if trial.returncode == 0:
            return user
        refusals.append(" ".join(trial.stdout.split()))
    ServerUser(data_dir.stat().st_uid, 0).admit(data_dir)
    refusal = "refuses root, and cannot run as anybody else" if me.uid == 0 else "cannot run"
    raise ConfigurationError(
        f"Postgres {refusal} here ({'; '.join(refusals)})",
        remedy="Run as an ordinary user, or name a data directory that every user can reach, "
        "such as one under /var/lib, or set DATABASE_URL",
    )


def keep_private(descriptor: int, data_dir: Path) -> None:
    """Close a file in `data_dir` to all but the directory's owner, and leave others' files alone.

    Files of older versions could be read and locked by everybody.
    """
    me, owner = os.geteuid(), data_dir.stat()
    if me in (0, os.fstat(descriptor).st_uid):
        os.fchmod(descriptor, 0o600)
    if me == 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _nobody() -> ServerUser:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return ServerUser(launch.NOBODY, launch.NOBODY)
    return ServerUser(entry.pw_uid, entry.pw_gid)
