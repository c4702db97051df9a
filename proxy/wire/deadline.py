"""A timer that is moved far more often than it fires."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """Calls `on_due` once the clock has passed the time last set.

    Moving it later costs an assignment: the armed timer fires at its old time, sees that it is early and arms itself again.
    A connection moves its deadline with every read, so a timer for each move would cost more than the read.

    `at` is the time, in seconds on the clock. Once it was moved and until it is cleared or due, whoever knows that it moves
    later may assign it.
    """

    __slots__ = ("_clock", "_loop", "_on_due", "_timer", "_timer_at", "at")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], on_due: Callable[[], None]) -> None:
        self._loop = loop
        self._clock = clock
        self._on_due = on_due
        self.at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def move(self, at: float) -> None:
        """Set the time, in seconds on the clock."""
        self.at = at
        if self._timer is None:
            self._arm()
        elif at < self._timer_at:
            self._timer.cancel()
            self._arm()

    def clear(self) -> None:
        """Never, until moved again."""
        self.at = math.inf

    def close(self) -> None:
        """Let go of the timer."""
        self.at = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer_at = self.at
        self._timer = self._loop.call_later(max(0.0, self.at - self._clock()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self.at == math.inf:
            return
        if self.at > self._clock():
            self._arm()
            return
        self.at = math.inf
        self._on_due()
