"""How a batch of spans is brought to its backend: what its answers mean, what is tried again, and for how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 10.0
RETRY_FOR_S = 60.0
"""How long one batch is tried; meanwhile the next ones wait within `traces.max_pending_bytes`."""


class Verdict(StrEnum):
    """What became of a batch."""

    TAKEN = "taken"
    LATER = "later"
    """Not now: it may be tried again."""
    REFUSED = "refused"
    """The backend will not have it, now or later."""


class Answer(msgspec.Struct, frozen=True):
    """What a backend said of one attempt; `why` is for people."""

    verdict: Verdict
    why: str = ""
    after_s: float | None = None
    """How long the backend asks to be left alone."""
    num_rejected: int = 0
    """Spans of a batch that it took without them."""


class Sender(Protocol):
    """A connection to a backend, used by one thread."""

    def send(self, batch: bytes, timeout_s: float) -> Answer:
        """Send an `ExportTraceServiceRequest` and wait for its answer, no step of it longer than `timeout_s`."""

    def close(self) -> None:
        """Close the connection; from another thread it ends a `send` that waits."""


class Delivery:
    """Brings batches to one backend, one at a time.

    `clock` is monotonic; `wait` sleeps so many seconds, or fewer where `hurry` is called meanwhile.
    """

    def __init__(
        self, sender: Sender, timeout_s: float, *, clock: Callable[[], float], wait: Callable[[float], object]
    ) -> None:
        self._sender = sender
        self._timeout_s = timeout_s
        self._clock = clock
        self._wait = wait
        self._deadline: float | None = None

    def hurry(self, deadline: float) -> None:
        """Let nothing be tried after `deadline`."""
        self._deadline = deadline

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and self._clock() >= self._deadline

    def bring(self, batch: bytes) -> Answer:
        """Try until the batch is taken or refused, or its time is over; the last answer says which."""
        give_up_at = self._clock() + RETRY_FOR_S
        pause_s = FIRST_PAUSE_S
        while True:
            answer = self._sender.send(batch, self._remaining(self._timeout_s))
            if answer.verdict is not Verdict.LATER:
                return answer
            # Many proxies that lost one backend must not come back to it in step.
            wanted_s = pause_s * random.uniform(0.8, 1.2) if answer.after_s is None else answer.after_s  # noqa: S311
            if self._clock() + wanted_s > give_up_at or self._remaining(wanted_s) < wanted_s:
                return answer
            self._wait(wanted_s)
            if self.is_over:
                return answer
            pause_s = min(MAX_PAUSE_S, 2 * pause_s)

    def _remaining(self, wanted_s: float) -> float:
        """At most what is left before the deadline; a millisecond where nothing is."""
        return wanted_s if self._deadline is None else max(0.001, min(wanted_s, self._deadline - self._clock()))
