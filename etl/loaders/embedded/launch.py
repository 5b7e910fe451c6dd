"""Change user where that is needed, then turn into a Postgres program. Run as a script, by path.

    python launch.py USER START DIRECTORY PROGRAM [ARGUMENT...]

USER is `same`, `namespace` or `UID:GID`; START is `wait` or `detach`. It is a program of its own
because a user namespace can only be entered by a process with a single thread, and because a
server started through it belongs to nobody's terminal and is nobody's child.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

_CLONE_NEWUSER = 0x10000000

NOBODY = 65534


def enter_user_namespace() -> None:
    """Become `nobody` inside a new user namespace, and stay who we are outside it.

    Files keep their owner: what belongs to us outside belongs to `nobody` inside.

    Raises OSError when the kernel or the container does not allow it. Linux only.
    """
    uid, gid = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    # The kernel takes a group map from the inside only once setgroups is given up.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY} {uid} 1"),
        ("gid_map", f"{NOBODY} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def become(user: str) -> None:
    """Turn into `user`: `same`, `namespace` or `UID:GID`. Raises OSError when refused."""
    if user == "namespace":
        enter_user_namespace()
    elif user != "same":
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def main(arguments: Sequence[str]) -> None:
    """Start the program that the arguments name. Comes back only when it was detached."""
    user, start, directory, *command = arguments
    become(user)
    os.chdir(directory)
    if start == "detach":
        if os.fork():
            return
        # A session of its own: Ctrl-C and a closed terminal reach the whole process group.
        os.setsid()
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as exc:
        sys.exit(f"{exc.filename or sys.argv[1]}: {exc.strerror}")
