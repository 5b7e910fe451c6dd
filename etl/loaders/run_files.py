"""Detect that the process of a run is dead: a run keeps a file locked while it lives.

The kernel drops the lock, however the process ends. The file proves a death only to a process under
the same kernel. So it carries the run's id and the kernel's boot id, and both are compared before
the lock is tried. In doubt the run is not known to be dead, and its lease decides.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

from msgspec import Struct

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# An unlocked file of this age, in seconds, belongs to no lease any more.
_ABANDONED_S = 86_400.0


class RunFile(Struct):
    """A file that this process has locked."""

    path: Path
    descriptor: int

    def remove(self) -> None:
        """Remove the file and drop the lock."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Drop the lock and keep the file: a process that finds it knows that the run is over."""
        os.close(self.descriptor)


class RunFiles:
    """The files of the runs in one data directory. No method raises; all do file I/O."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self, run_id: str) -> RunFile | None:
        """Return the locked file of a run; None if none can be made."""
        content = _content(run_id)
        if content is None:
            return None
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            path = self.directory.resolve() / _name(run_id)
            new = path.with_suffix(".new")
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(new, flags, 0o600)
        except OSError:
            return None
        try:
            # It is complete and locked before it gets its name, so no process sees it unlocked.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, content)
            new.rename(path)
        except OSError:
            RunFile(new, descriptor).remove()
            return None
        return RunFile(path, descriptor)

    @staticmethod
    def of_dead_run(path: str, run_id: str) -> RunFile | None:
        """Return the locked file of a run that is certainly dead; None otherwise."""
        content = _content(run_id)
        if content is None or Path(path).name != _name(run_id):
            return None
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(path, flags)
        except OSError:
            return None
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            if regular and os.read(descriptor, len(content) + 1) == content:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return RunFile(Path(path), descriptor)
        except OSError:  # it is locked: the run lives
            pass
        os.close(descriptor)
        return None

    def _sweep(self) -> None:
        """Remove old files that no process has locked."""
        for path in self.directory.glob("*.*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime > time.time() - _ABANDONED_S:
                    continue
                found = RunFile(path, os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
                try:
                    fcntl.flock(found.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    found.close()


def _name(run_id: str) -> str:
    return f"{run_id}.lock"


def _content(run_id: str) -> bytes | None:
    """Return the content of a run's file on this machine; None if the kernel has no boot id."""
    if fcntl is None:
        return None
    try:
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return f"{run_id}\n{boot_id}\n".encode() if boot_id else None
