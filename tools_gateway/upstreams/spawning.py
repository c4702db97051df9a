"""Starts a program on another thread than the loop's, and hands its pipes and its end to the loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import IO, cast

STDIN, STDOUT, STDERR = 0, 1, 2

_Program = subprocess.Popen[bytes]


async def spawn(
    protocol: asyncio.SubprocessProtocol,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    confine: Callable[[], None],
) -> None:
    """Start a program in a process group of its own, as the loop's `subprocess_exec` does; raises `OSError`.

    A fork copies the gateway's page tables, and is waited for until the program has begun. On the loop, every start held the
    calls to all upstreams for 10 ms; here they miss the 4 ms in which a fork holds the interpreter. `confine` is called in the
    child before its program, where it must take no lock, for the thread that holds it is not there. A program that asks to
    die with its parent dies with this thread: those of the loop's executor live as long as the loop.
    """
    starting = asyncio.get_running_loop().run_in_executor(None, _start, command, env, cwd, confine)
    try:
        program = await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_end_unwanted)
        raise
    await _Child(program).connect(protocol)


def _start(command: Sequence[str], env: Mapping[str, str], cwd: str, confine: Callable[[], None]) -> _Program:
    """Start a program, with pipes of which the loop takes what comes; raises `OSError`."""
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - what runs is argv of the operator's file
        command,
        bufsize=0,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=env,
        cwd=cwd,
        process_group=0,
        preexec_fn=confine,  # noqa: PLW1509 - it takes no lock, and nothing else lets a program die with its parent
    )


class _Child(asyncio.SubprocessTransport):
    """A running program, as asyncio's protocols know it."""

    def __init__(self, program: _Program) -> None:
        super().__init__()
        self._program = program
        self._pipes: dict[int, asyncio.BaseTransport] = {}

    async def connect(self, protocol: asyncio.SubprocessProtocol) -> None:
        """Tell `protocol` of it from now on; raises `OSError`, and leaves nothing of it then."""
        loop = asyncio.get_running_loop()
        files = cast("tuple[IO[bytes], ...]", (self._program.stdin, self._program.stdout, self._program.stderr))
        try:
            self._pipes[STDIN], _ = await loop.connect_write_pipe(asyncio.BaseProtocol, files[STDIN])
            for descriptor in (STDOUT, STDERR):
                hearing = partial(_Hearing, protocol, descriptor)
                self._pipes[descriptor], _ = await loop.connect_read_pipe(hearing, files[descriptor])
            running = os.pidfd_open(self._program.pid)
        except BaseException:
            self.close()
            for file in files[len(self._pipes) :]:
                file.close()
            _kill(self._program)
            raise
        protocol.connection_made(self)
        loop.add_reader(running, self._exited, running, protocol)

    def get_pid(self) -> int:
        """Of the program."""
        return self._program.pid

    def get_returncode(self) -> int | None:
        """Its status, or its signal with a minus; None while it runs."""
        return self._program.returncode

    def get_pipe_transport(self, fd: int) -> asyncio.BaseTransport | None:
        """What its input or output is written to or read from."""
        return self._pipes.get(fd)

    def close(self) -> None:
        """Close its pipes; whoever asks for that has ended it."""
        for pipe in self._pipes.values():
            pipe.close()

    def _exited(self, running: int, protocol: asyncio.SubprocessProtocol) -> None:
        """It has ended."""
        asyncio.get_running_loop().remove_reader(running)
        os.close(running)
        self._program.wait()
        protocol.process_exited()


class _Hearing(asyncio.Protocol):
    """One output of a program."""

    def __init__(self, protocol: asyncio.SubprocessProtocol, descriptor: int) -> None:
        self._protocol, self._descriptor = protocol, descriptor

    def data_received(self, data: bytes) -> None:
        """It wrote something."""
        self._protocol.pipe_data_received(self._descriptor, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """It closed it."""
        self._protocol.pipe_connection_lost(self._descriptor, exc)


def _end_unwanted(starting: asyncio.Future[_Program]) -> None:
    """End a program that nobody waits for any more."""
    if not starting.cancelled() and starting.exception() is None:
        with starting.result() as program:
            _kill(program)


def _kill(program: _Program) -> None:
    """End it with its group, and wait for that."""
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()
