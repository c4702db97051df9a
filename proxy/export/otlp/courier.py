"""Brings what spans are made of to the process that makes and sends them; on the path a record is held, and that is all.

In a thread of the proxy the same work held the interpreter, and competed with calls for a core where there is one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping

import msgspec

from turnwise.proxy.export.otlp.told import MAX_LINE_BYTES, Loss, Order, Record, Report, frame
from turnwise.proxy.programs.values import Call, Ended, Key

logger = logging.getLogger(__name__)

FRAME_RECORDS = 64
"""So many calls make a frame: packed together they take a third of what each takes by itself, and 0.1 ms of a turn."""
FRAME_AT_MOST = 2 * FRAME_RECORDS
"""So many make one at once, where the loop does not turn meanwhile."""
FRAME_WITHIN_S = 0.25
"""After this a frame is made of fewer."""
RECORD_BYTES = 1024
"""What a call is taken to weigh until its frame is made."""
FRAMES_AT_ONCE = 16
"""Of a process that gets nothing of its core so many wait that to write them all would hold calls for 30 ms."""

FIRST_PAUSE_S = 0.5
"""Before a process that ended is started again; twice as long each time, up to `MAX_PAUSE_S`."""
MAX_PAUSE_S = 30.0
STEADY_S = 60.0
"""A process that lived so long ended by accident: the next pause is the first again."""

END_WITHIN_S = 2.0
"""How long its process may take to end once `traces.flush_timeout_s` is over."""


class Courier:
    """Hears of calls and programs as they end (`ProgramListener`), and tells its process, which it starts again if it dies.

    What its process has not taken waits within `traces.max_pending_bytes`; what does not fit is dropped and counted.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._max_bytes = order.settings.traces.max_pending_bytes
        self._flush_timeout_s = order.settings.traces.flush_timeout_s
        self._fresh: list[Record] = []
        """Of which no frame is made yet."""
        self._num_fresh_calls = 0
        self._held: deque[tuple[bytes, int]] = deque()
        """Frames, and of how many records each is."""
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._process: Process | None = None
        self._num_told = 0
        """Records that the process was told."""
        self._report = Report()
        """The newest of the process."""
        self._before = Report()
        """What all processes before it reported."""
        self._lost = dict.fromkeys(Loss, 0)
        """Records that no process reported on."""
        self._is_stopping = False
        self._keeping: asyncio.Task[None] | None = None

    @property
    def num_exported(self) -> int:
        """Spans of our own that were taken."""
        return self._before.num_exported + self._report.num_exported

    @property
    def num_rejected(self) -> int:
        """Spans that the backend left out of batches that it took."""
        return self._before.num_rejected + self._report.num_rejected

    @property
    def num_failed_batches(self) -> int:
        """Batches that were given up."""
        return self._before.num_failed_batches + self._report.num_failed_batches

    @property
    def lost(self) -> Mapping[Loss, int]:
        """Calls, programs and engines' requests that were not sent."""
        parts = (self._lost, self._before.lost, self._report.lost)
        return {loss: sum(part.get(loss, 0) for part in parts) for loss in Loss}

    @property
    def pending_bytes(self) -> int:
        """What waits to be sent, as estimated."""
        return self._num_fresh_calls * RECORD_BYTES + self._held_bytes + self._report.pending_bytes

    def call_ended(self, key: Key, call: Call) -> None:
        """See `ProgramListener.call_ended`."""
        if key.is_sampled:
            self._put(Record(key, call), 1)

    def program_ended(self, ended: Ended) -> None:
        """See `ProgramListener.program_ended`."""
        if ended.key.is_sampled:
            self._put(Record(None, None, ended), 1 + len(ended.calls))

    def forward(self, request: bytes) -> None:
        """Send on an `ExportTraceServiceRequest` of an engine, as it is."""
        self._put(Record(None, None, None, request), FRAME_RECORDS)  # nobody knows how large it is

    def start(self) -> None:
        """Start the process, and keep it, on the running loop."""
        self._keeping = asyncio.create_task(self._keep(), name="traces")

    async def stop(self) -> None:
        """Send what waits, within `traces.flush_timeout_s`, and end the process; what is left is dropped and counted."""
        self._is_stopping = True
        if self._timer is not None:
            self._timer.cancel()
        process = self._process
        self._make_frame()
        if process is not None and process.stdin is not None:
            while self._held:
                self._send(process.stdin)
            process.stdin.close()
        elif self._keeping is not None:
            self._keeping.cancel()  # it pauses between two processes
        if self._keeping is not None:
            await asyncio.wait([self._keeping], timeout=self._flush_timeout_s + END_WITHIN_S)
            if process is not None and process.returncode is None:
                process.kill()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._lost[Loss.STOPPED] += sum(count for _, count in self._held) + self._num_told - self._report.num_settled
        if any(self.lost.values()):
            told = ", ".join(f"{count} {loss}" for loss, count in self.lost.items() if count)
            logger.warning("spans of some calls and programs were not sent: %s", told)

    def _put(self, record: Record, num_calls: int) -> None:
        self._fresh.append(record)
        before = self._num_fresh_calls
        self._num_fresh_calls += num_calls
        if self._num_fresh_calls >= FRAME_AT_MOST:
            self._flush()
        elif self._num_fresh_calls >= FRAME_RECORDS:
            if before < FRAME_RECORDS:
                asyncio.get_running_loop().call_soon(self._flush)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FRAME_WITHIN_S, self._flush)

    def _flush(self) -> None:
        """Send what waits, unless the process has not taken what it was sent before, or there is none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._make_frame()
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.transport.get_write_buffer_size():
            self._send(process.stdin)
        if self._held:
            self._timer = asyncio.get_running_loop().call_later(FRAME_WITHIN_S, self._flush)

    def _make_frame(self) -> None:
        """Make a frame of what is fresh, or count it as lost where there is no room."""
        count = len(self._fresh)
        if not count:
            return
        free_bytes = self._max_bytes - self._held_bytes - self._report.pending_bytes
        # Not packed where there is no room: what waits is most where calls come fastest.
        packed = frame(self._fresh) if count * RECORD_BYTES <= free_bytes else None
        self._fresh.clear()
        self._num_fresh_calls = 0
        if packed is None or len(packed) > free_bytes:
            self._lost[Loss.FULL] += count
        else:
            self._held.append((packed, count))
            self._held_bytes += len(packed)

    def _send(self, process: asyncio.StreamWriter) -> None:
        for _ in range(min(FRAMES_AT_ONCE, len(self._held))):
            packed, count = self._held.popleft()
            process.write(packed)
            self._num_told += count
            self._held_bytes -= len(packed)

    async def _keep(self) -> None:
        """Run one process after another until told to stop."""
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            began_at = loop.time()
            try:
                status = await self._run()
            except OSError:
                status = None
                logger.exception("there can be no process to send spans now")
            if self._is_stopping:
                return
            self._mourn()
            if loop.time() - began_at > STEADY_S:
                pause_s = FIRST_PAUSE_S
            logger.error("the process that sends spans ended (status %s); it is started again in %.1f s", status, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def _run(self) -> int:
        """Run one process until it ends; returns its exit status."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "turnwise.proxy.export.otlp.process",
            stdin=PIPE,
            stdout=PIPE,
            limit=MAX_LINE_BYTES,
            preexec_fn=_leave_terminal,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(self._order) + b"\n")
        self._process = process
        try:
            while line := await process.stdout.readline():
                self._report = msgspec.json.decode(line, type=Report)
            return await process.wait()
        finally:
            if not self._is_stopping:
                self._process = None

    def _mourn(self) -> None:
        """Count what a process that died can report no more."""
        old, report = self._before, self._report
        self._lost[Loss.BROKEN] += self._num_told - report.num_settled
        self._before = Report(
            old.num_exported + report.num_exported,
            old.num_rejected + report.num_rejected,
            old.num_failed_batches + report.num_failed_batches,
            lost={loss: old.lost.get(loss, 0) + report.lost.get(loss, 0) for loss in Loss},
        )
        self._report = Report()
        self._num_told = 0


def _leave_terminal() -> None:
    """Let no Ctrl-C in a terminal reach the process, also while it still starts.

    It takes a group of its own and no session: Linux may share a core evenly between sessions (autogroup), and `SCHED_IDLE`
    gives way within its session alone then; at a thousand calls a second one first token in a hundred waited 3 ms for that.
    """
    os.setpgrp()
