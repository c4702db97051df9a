"""The program of an upstream: started clean, in a group of its own, and ended with all that it started."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import resource
import shutil
import signal
import tempfile
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import cast

from turnwise import yielding
from turnwise.tools_gateway.settings import UpstreamSettings
from turnwise.tools_gateway.upstreams.allowance import hold, read_on
from turnwise.tools_gateway.upstreams.spawning import STDERR, STDIN, STDOUT, spawn
from turnwise.tools_gateway.upstreams.yielding import STARTING_S, can_be_taken_back, take_back

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GRACE_S = 2.0
"""For each of: its input closed, TERM, KILL."""

LEFT_OPEN_S = 0.5
"""Between the end of a program and that of its output, in any order: the one tells why, the other what it said last."""

MAX_UNSENT_BYTES = 8 * 1024 * 1024
"""Requests that a program has not read."""

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_prctl = ctypes.CDLL(None, use_errno=True).prctl
"""Looked up before any fork: between fork and exec nothing may be imported or looked up."""


class Process(asyncio.SubprocessProtocol):
    """A running program; `hear` is given what it writes, by descriptor, and `ended` once why it is of no more use."""

    def __init__(self, hear: Callable[[int, bytes], None], ended: Callable[[str], None]) -> None:
        self._hear, self._tell_ended = hear, ended
        self._transport: asyncio.SubprocessTransport | None = None
        self._pipe: asyncio.WriteTransport | None = None
        self._home = ""
        self._exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_output_closed = False
        self._why = "it closed its output"
        self._starting: asyncio.TimerHandle | None = None
        self._taking_back: asyncio.Future[None] | None = None
        self.pid: int | None = None

    async def start(self, upstream: UpstreamSettings, passed: Mapping[str, str]) -> None:
        """Start it with what is passed on of the gateway's environment; raises `OSError`."""
        self._home = await asyncio.to_thread(tempfile.mkdtemp, prefix="turnwise-upstream-")
        try:
            await spawn(
                self,
                upstream.command,
                env=clean_environment(upstream, passed, self._home),
                cwd=upstream.cwd or self._home,
                confine=partial(_confine, gives_way=can_be_taken_back()),
            )
        except BaseException:
            await self._clear()
            raise

    def started(self) -> None:
        """It needs no longer give way to all others."""
        if self._starting is not None and self.pid is not None and not self._exited.done():
            self._starting.cancel()
            self._starting = None
            self._taking_back = asyncio.get_running_loop().run_in_executor(None, take_back, self.pid)

    def write(self, line: bytes) -> bool:
        """Write one line without its end; False where the program has closed its input, or does not read what it is sent."""
        if self._pipe is None or self._pipe.is_closing() or self._pipe.get_write_buffer_size() > MAX_UNSENT_BYTES:
            return False
        self._pipe.write(line + b"\n")
        return True

    def pause(self, descriptor: int, seconds: float) -> None:
        """Read nothing of what it writes there for a while: it waits, and nobody else does.

        What is left of one that has ended is at most what a pipe holds, and is read.
        """
        if self._transport is None or self._exited.done():
            return
        pipe = cast("asyncio.ReadTransport | None", self._transport.get_pipe_transport(descriptor))
        if pipe is not None and not pipe.is_closing():
            hold(pipe, seconds)

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """End it and its group: its input is closed, then TERM, then KILL; with no grace KILL at once."""
        try:
            if self._transport is not None and self.pid is not None:
                if grace_s:
                    assert self._pipe is not None
                    self._pipe.close()
                    await self._exit_within(grace_s)
                    if not self._exited.done():
                        self._signal(signal.SIGTERM)
                        await self._exit_within(grace_s)
                self._signal(signal.SIGKILL)
                await self._exit_within(GRACE_S)
        finally:
            self._signal(signal.SIGKILL)
            if self._transport is not None:
                self._transport.close()
            await self._clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._pipe = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(STDIN))
        self.pid = self._transport.get_pid()
        if can_be_taken_back():
            self._starting = asyncio.get_running_loop().call_later(STARTING_S, self.started)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It wrote something."""
        self._hear(fd, data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it with both
        """It closed its output or its input, or died."""
        if fd == STDOUT:
            self._is_output_closed = True
            wait_s = 0.0 if self._exited.done() else LEFT_OPEN_S
            asyncio.get_running_loop().call_later(wait_s, self._end)

    def process_exited(self) -> None:
        """It has ended; whatever it started is ended too, and with that its pipes."""
        assert self._transport is not None
        code = self._transport.get_returncode()
        self._why = f"it was ended by signal {-code}" if code is not None and code < 0 else f"it ended with status {code}"
        self._signal(signal.SIGKILL)
        if self._starting is not None:
            self._starting.cancel()
        if not self._exited.done():
            self._exited.set_result(None)
        for descriptor in (STDOUT, STDERR):
            if (pipe := self._transport.get_pipe_transport(descriptor)) is not None:
                read_on(cast("asyncio.ReadTransport", pipe))
        asyncio.get_running_loop().call_later(0.0 if self._is_output_closed else LEFT_OPEN_S, self._end)

    def _end(self) -> None:
        """Say once that it is of no more use."""
        tell, self._tell_ended = self._tell_ended, _nobody
        tell(self._why)

    def _signal(self, number: signal.Signals) -> None:
        """To all of its group that are left; to nobody once that was swept, for its number may be another's."""
        if self.pid is not None and not self._exited.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def _exit_within(self, seconds: float) -> None:
        """Wait for its end, that long at most."""
        await asyncio.wait((self._exited,), timeout=seconds)

    async def _clear(self) -> None:
        """Remove what it left in its own folder."""
        if self._taking_back is not None:
            await asyncio.wait((self._taking_back,))
        await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)


def clean_environment(upstream: UpstreamSettings, passed: Mapping[str, str], home: str) -> dict[str, str]:
    """The environment of a program: nothing of the gateway's but what the operator named."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "HOME": upstream.cwd or home, "TMPDIR": home, **passed, **upstream.env}


def _confine(*, gives_way: bool) -> None:
    """In the child, before its program: it dies with the gateway, gains no rights, and leaves no core with secrets in it.

    It has no terminal either, though it stays in the gateway's session: where `autogroup` is on, Linux schedules sessions as
    wholes, and one of its own would give way to nobody.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # where there is no terminal
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(terminal, termios.TIOCNOTTY)
    if gives_way:
        yielding.give_way()


def _nobody(why: str) -> None:
    """Hears what has been said already."""
