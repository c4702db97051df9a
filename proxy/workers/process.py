"""One worker as its supervisor sees it: a process that ends, and is started again."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from turnwise.proxy.workers.order import READY, Command, Order

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
"""Before a worker that ended is started again; twice as long each time, up to `MAX_PAUSE_S`."""
MAX_PAUSE_S = 30.0
STEADY_S = 60.0
"""A worker that lived so long ended by accident: the next pause is the first again."""


class WorkersFailed(Exception):
    """The workers could not start, or did not end well; the message says which."""


class WorkerProcess:
    """A worker, through all the processes that it will have; `order(start)` says what the next one is to do."""

    def __init__(self, number: int, order: Callable[[int], Order]) -> None:
        self.number = number
        self.num_starts = 0
        self.is_serving = False
        self.has_served = asyncio.Event()
        self.starting = asyncio.Lock()
        """Held from the order to a process until it serves or has ended."""
        self._order = order
        self._admin_path = Path()
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Its process; None before it has one."""
        return None if self._process is None else self._process.pid

    @property
    def admin_path(self) -> Path | None:
        """Where its admin API can be asked; None while it does not serve."""
        return self._admin_path if self.is_serving else None

    async def keep(self) -> int:
        """Start it, and again whenever it ends, until it is told to stop; returns the status of its last process.

        Raises `WorkersFailed` where its first process ends before it serves.
        """
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            began_at = loop.time()
            status = await self._run()
            if self._stopping.is_set():
                return status
            if not self.has_served.is_set():
                raise WorkersFailed(f"worker {self.number} ended with status {status} before it could serve")
            if loop.time() - began_at > STEADY_S:
                pause_s = FIRST_PAUSE_S
            ended = "worker %d (pid %s) ended with status %d; it is started again in %.1f s"
            logger.error(ended, self.number, self.pid, status, pause_s)
            if await self._is_stopped_within(pause_s):
                return 0
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def stop(self) -> None:
        """Let its calls end, and do not start it again."""
        self._stopping.set()
        self._say(Command.STOP)

    def cut(self) -> None:
        """End it without waiting for its calls."""
        self._stopping.set()
        self._say(Command.CUT)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _run(self) -> int:
        """Run one process until it ends; returns its exit status, negative for a signal."""
        try:
            async with self.starting:
                process = await self._start()
        except OSError:
            logger.exception("worker %d cannot have a process now", self.number)
            return os.EX_OSERR
        status = await process.wait()
        self.is_serving = False
        return status

    async def _start(self) -> asyncio.subprocess.Process:
        """Start a process and wait until it serves or has closed its output."""
        order = self._order(self.num_starts)
        self.num_starts += 1
        self._admin_path = Path(order.seat.admin_path)
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "turnwise.proxy.workers.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(order.seat.inbound_fd, *order.seat.sibling_fds.values()),
            # Ctrl-C reaches every process of a terminal's session; what it means here, the supervisor says.
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        if self._stopping.is_set():
            self._say(Command.STOP)
        self.is_serving = await process.stdout.readline() == READY
        if self.is_serving and self.has_served.is_set():
            logger.warning("worker %d serves again (pid %d)", self.number, process.pid)
        elif self.is_serving:
            self.has_served.set()
        return process

    async def _is_stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _say(self, command: Command) -> None:
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.write(command.encode() + b"\n")
