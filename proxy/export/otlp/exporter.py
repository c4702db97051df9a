"""Spans leave the machine: what they are made of is put into a queue, a thread makes spans of it and sends them.

What does not fit into `traces.max_pending_bytes` is dropped and counted, so no backend can fill the memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from turnwise.proxy.export.otlp.batch import Batch
from turnwise.proxy.export.otlp.call_spans import WallClock, call_spans
from turnwise.proxy.export.otlp.program_spans import program_spans
from turnwise.proxy.export.otlp.sending import Delivery, Sender, Verdict
from turnwise.proxy.export.otlp.told import Loss, Report
from turnwise.proxy.programs.values import Call, Ended, Key
from turnwise.settings import Settings

logger = logging.getLogger(__name__)

CALL_BYTES = 3072
"""What a call that waits is taken to weigh: its record, and its spans once they are made; names and parts come on top."""
PART_BYTES = 256
"""The same for each of its links, tool calls, tool runs and failed attempts."""
ENDED_CALL_BYTES = 1024
"""The same for each call of a program that has ended."""
CHAR_BYTES = 4
"""The most that a character takes, of a name or an id that a client or an engine chose."""

WAKE_AT_RECORDS = 64
"""So many that wait wake the thread before its second is over."""
INTERVAL_S = 1.0

Waiting = tuple[int, Key | None, Call | Ended | bytes]
"""What it weighs; then a call with its program, a program that has ended, or an engine's request that is sent on."""


class Exporter:
    """Hears of calls and programs as they end (`ProgramListener`), and sends their spans.

    `resource` is an encoded field that names the process, `wall_ns` turns moments of calls into the time of day, `on_batch` is
    called after each batch, in the thread.
    """

    def __init__(
        self,
        settings: Settings,
        sender: Sender,
        timeout_s: float,
        resource: bytes,
        wall_ns: WallClock,
        on_batch: Callable[[Exporter], object] = lambda _: None,
    ) -> None:
        self.num_exported = 0
        """Spans of our own that were taken."""
        self.num_rejected = 0
        """Spans that the backend left out of batches that it took."""
        self.num_failed_batches = 0
        self.lost = dict.fromkeys(Loss, 0)
        """Calls, programs and engines' requests that were not sent: who tells of them counts `FULL`, the thread the others."""
        self._num_sent = 0
        """Calls, programs and engines' requests that were sent."""
        self._on_batch = on_batch
        self._programs = settings.programs
        self._max_bytes = settings.traces.max_pending_bytes
        self._flush_timeout_s = settings.traces.flush_timeout_s
        self._sender = sender
        self._resource = resource
        self._wall_ns = wall_ns
        self._waiting: deque[Waiting] = deque()
        # Each is written by one thread alone, so that their difference needs no lock.
        self._bytes_in = 0
        self._bytes_out = 0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._delivery = Delivery(sender, timeout_s, clock=time.monotonic, wait=self._wait)
        # It is joined at the end. Only a name that does not resolve outlasts the deadline, and must not hold up the exit.
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)

    @property
    def pending_bytes(self) -> int:
        """What waits to be sent, as estimated."""
        return self._bytes_in - self._bytes_out

    def call_ended(self, key: Key, call: Call) -> None:
        """See `ProgramListener.call_ended`."""
        if key.is_sampled:
            self._put((CALL_BYTES + _parts_bytes(call), key, call))

    def program_ended(self, ended: Ended) -> None:
        """See `ProgramListener.program_ended`."""
        if ended.key.is_sampled:
            parts = sum(_parts_bytes(call) for call in ended.calls)
            self._put((CALL_BYTES + ENDED_CALL_BYTES * len(ended.calls) + parts, ended.key, ended))

    def forward(self, request: bytes) -> None:
        """Send on an `ExportTraceServiceRequest` of an engine, as it is."""
        self._put((len(request), None, request))

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, within `traces.flush_timeout_s`, and end the thread; what is left is dropped and counted."""
        deadline = time.monotonic() + self._flush_timeout_s
        self._delivery.hurry(deadline)
        self._stopping.set()
        self._wake.set()
        self._thread.join(self._flush_timeout_s)
        self._sender.close()
        self.lost[Loss.STOPPED] += len(self._waiting)

    def report(self) -> Report:
        """What became of spans so far."""
        settled = self._num_sent + sum(self.lost.values())
        return Report(
            self.num_exported, self.num_rejected, self.num_failed_batches, settled, self.pending_bytes, dict(self.lost)
        )

    def _put(self, record: Waiting) -> None:
        size = record[0]
        if self._bytes_in - self._bytes_out + size > self._max_bytes:
            self.lost[Loss.FULL] += 1
            return
        self._bytes_in += size
        self._waiting.append(record)
        if len(self._waiting) == WAKE_AT_RECORDS:
            self._wake.set()

    def _wait(self, seconds: float) -> None:
        """Sleep, until told to stop; once told, all of the time."""
        if self._stopping.is_set():
            time.sleep(seconds)
        else:
            self._stopping.wait(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(INTERVAL_S)
            self._wake.clear()
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        while self._waiting and not self._delivery.is_over:
            batch = Batch(self._resource)
            while self._waiting and not batch.is_full:
                self._add(batch, *self._waiting.popleft())
            self._bring(batch)
            self._on_batch(self)

    def _add(self, batch: Batch, size: int, key: Key | None, what: Call | Ended | bytes) -> None:
        batch.weight += size
        try:
            if isinstance(what, bytes):
                batch.add_request(what)
            elif isinstance(what, Ended):
                batch.add_spans(program_spans(what, self._programs, self._wall_ns))
            elif key is not None:
                batch.add_spans(call_spans(key, what, self._wall_ns))
        except Exception:
            self.lost[Loss.BROKEN] += 1
            logger.exception("the spans of a call or a program could not be made")
        else:
            batch.num_records += 1

    def _bring(self, batch: Batch) -> None:
        body = batch.body()
        if body:
            answer = self._delivery.bring(body)
            if answer.verdict is Verdict.TAKEN:
                self.num_exported += batch.num_spans
                self.num_rejected += answer.num_rejected
                self._num_sent += batch.num_records
            else:
                self.num_failed_batches += 1
                loss = Loss.REFUSED if answer.verdict is Verdict.REFUSED else Loss.UNANSWERED
                self.lost[loss] += batch.num_records
                logger.warning("a batch of %d spans was not taken: %s", batch.num_spans, answer.why)
        self._bytes_out += batch.weight


def _parts_bytes(call: Call) -> int:
    """What a call weighs beside what all calls do: its parts, and the names and ids that others chose."""
    num_parts = len(call.links) + len(call.attempts) + len(call.tools) + len(call.runs)
    num_chars = len(call.model or "") + len(call.response_id or "")
    for tool in call.tools:
        num_chars += len(tool.id) + len(tool.name)
    for run in call.runs:
        num_chars += len(run.id) + len(run.name)
    return PART_BYTES * num_parts + CHAR_BYTES * num_chars
