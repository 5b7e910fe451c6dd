"""Change the user if needed, then exec a Postgres program. Run as a script, by its path.

    python launch.py USER START DIRECTORY PROGRAM [ARGUMENT...]

USER is `same`, `namespace` or `UID:GID`; START is `wait` or `detach`. It is a separate
program for two reasons. Only a process with one thread can enter a user namespace. And a server
that is started through it has neither our terminal nor our process as its parent.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

_CLONE_NEWUSER = 0x10000000

NOBODY = 65534


def enter_user_namespace() -> None:
    """Enter a new user namespace as `nobody`. Outside of it the user stays the same.

    Files keep their owner: those of our user appear inside as files of `nobody`.

    Raises OSError when the kernel or the container does not allow it. Linux only.
    """
    uid, gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    # The kernel accepts a group map from inside only after setgroups is denied.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY} {uid} 1"),
        ("gid_map", f"{NOBODY} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def become(user: str) -> None:
    """Change the user of this process: `same`, `namespace` or `UID:GID`. Raises OSError."""
    if user == "namespace":
        enter_user_namespace()
    elif user != "same":
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def main(arguments: Sequence[str]) -> None:
    """Start the program that the arguments name. Returns only if it is detached."""
    user, start, directory, *command = arguments
    become(user)
    os.chdir(directory)
    if start == "detach":
        if os.fork():
            return
        # A new session, because Ctrl-C and a closed terminal signal the whole process group.
        os.setsid()
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as exc:
        sys.exit(f"{exc.filename or sys.argv[1]}: {exc.strerror}")
