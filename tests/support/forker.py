"""Starts processes of the command without importing it each time, which costs a second of CPU.

One process has imported everything and forks: each child sets its environment, takes its pipes and
runs `etl` as `python -m etl` does. It can be killed like any other.
Run as a script it is that process; the rest is the tests' side of it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from collections import deque
from typing import IO, Any

_LONGEST_MESSAGE_BYTES = 1 << 20
# What the command imports only when it needs it.
_IMPORTED = (
    *("etl.cli.look", "etl.cli.play", "etl.cli.service", "etl.cli.work", "etl.app", "etl.console"),
    *("etl.loaders.migrate", "etl.service.serve", "etl.service.queue", "etl.service.worker"),
    "tests.support.clocks",
    *("alembic.command", "alembic.autogenerate", "asyncpg", "aiohttp.web", "etl.sandbox.server"),
)


class Forked:
    """A process of the command, with what tests use of asyncio's own kind."""

    def __init__(
        self, pid: int, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        """The exit code (negative: the signal), None while it runs."""
        return self._ended.result() if self._ended.done() else None

    def ended(self, code: int) -> None:
        """Note how it ended; called once."""
        self._ended.set_result(code)

    async def wait(self) -> int:
        """Return the exit code once there is one."""
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return what it prints until it ends."""
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal. Raises ProcessLookupError when it is gone."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)


class Forker:
    """The tests' end of the process that forks. Ends with this process."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._asked: deque[asyncio.Future[int]] = deque()
        self._children: dict[int, Forked] = {}
        # Of children that end before whoever asked for them has heard of them.
        self._codes: dict[int, int] = {}
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(channel, self._hear)

    @classmethod
    async def start(cls, environment: dict[str, str]) -> Forker:
        """Start the process that forks, under a given environment."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            await asyncio.create_subprocess_exec(
                *(sys.executable, __file__, str(theirs.fileno())),
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                # Pipes, as the children will have: Python looks at what they are when it starts.
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        ours.setblocking(False)
        return cls(ours)

    async def fork(
        self,
        arguments: tuple[str, ...],
        environment: dict[str, str],
        log: IO[bytes] | None = None,
    ) -> Forked:
        """Start the command. log: takes what it writes to stderr, in place of a pipe."""
        (out, its_out), (err, its_err) = os.pipe(), os.pipe()
        asked = self.loop.create_future()
        self._asked.append(asked)
        message = json.dumps([arguments, environment]).encode()
        errors = its_err if log is None else log.fileno()
        socket.send_fds(self._channel, [message], [its_out, errors])
        os.close(its_out)
        os.close(its_err)
        readers = await asyncio.gather(*(self._reader(each) for each in (out, err)))
        pid = await asyncio.shield(asked)
        child = self._children[pid] = Forked(pid, *readers)
        if pid in self._codes:
            self._end(pid, self._codes.pop(pid))
        return child

    async def _reader(self, descriptor: int) -> asyncio.StreamReader:
        reader = asyncio.StreamReader()
        await self.loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
        )
        return reader

    def _hear(self) -> None:
        message = self._channel.recv(_LONGEST_MESSAGE_BYTES)
        if not message:
            self.loop.remove_reader(self._channel)
            while self._asked:
                self._asked.popleft().set_exception(RuntimeError("Nothing forks any more"))
            return
        pid, code = json.loads(message)
        if code is None:
            self._asked.popleft().set_result(pid)
        elif pid in self._children:
            self._end(pid, code)
        else:
            self._codes[pid] = code

    def _end(self, pid: int, code: int) -> None:
        self._children.pop(pid).ended(code)


def serve(channel: socket.socket) -> list[str]:
    """Fork whenever asked to, for ever; in a child, return its arguments."""
    for name in _IMPORTED:
        importlib.import_module(name)
    # Made once, and not in each child.
    importlib.import_module("etl.loaders.tables").tables_of("posthog")
    gc.freeze()
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(awake, selectors.EVENT_READ)
        while True:
            asked = {key.fd for key, _ in selector.select()}
            if channel.fileno() in asked:
                message, pipes, _, _ = socket.recv_fds(channel, _LONGEST_MESSAGE_BYTES, 2)
                if not message:
                    os._exit(0)
                pid = os.fork()
                if pid == 0:
                    break
                for pipe in pipes:
                    os.close(pipe)
                channel.send(json.dumps([pid, None]).encode())
            if awake in asked:
                os.read(awake, 4096)
                _tell_who_ended(channel)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in (awake, wake, channel.detach()):
        os.close(descriptor)
    for standard, pipe in zip((1, 2), pipes, strict=True):
        os.dup2(pipe, standard)
        os.close(pipe)
    arguments, environment = json.loads(message)
    importlib.import_module("tests.support.clocks").move_by(environment)
    os.environ.clear()
    os.environ.update(environment)
    return list(arguments)


def _tell_who_ended(channel: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            channel.send(json.dumps([pid, os.waitstatus_to_exitcode(status)]).encode())


def main() -> Any:
    """Be the process that forks, or what came of it."""
    descriptor = int(sys.argv[1])
    del sys.path[0]  # the directory of this file, which `python -m` would not have
    sys.argv[1:] = serve(socket.socket(fileno=descriptor))
    try:
        return runpy.run_module("etl", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            _end(ended.with_traceback(None).code)
        raise


def _end(code: int) -> None:
    """End as the interpreter does, but do not take apart what was imported.

    That costs 0.1 s of CPU: the memory shared with the process that forks is copied for it. What
    the command itself left behind is collected, so that it says what it has to say.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    gc.collect()
    # What cannot be written is for the interpreter's own end.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
