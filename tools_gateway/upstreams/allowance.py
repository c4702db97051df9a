"""How much an upstream may say that is no answer: weighed alike however it is reached, and past that not read for a while."""

from __future__ import annotations

import asyncio

NOISE_A_SECOND = 64 * 1024
"""Weight of what an upstream may say that is no answer, notifications among it: 5 ms of the loop that all of them share."""

EACH = 64
"""Weight of looking at anything: a message, a line, or a read that brings a part of one and ends nothing."""

_MOST_OWED_S = 5.0


def weight(message: bytes) -> int:
    """What a message that is no answer counts for: short ones cost as much to look at."""
    return len(message) + EACH


class Allowance:
    """So much a second on the average, and what a second gives at once."""

    def __init__(self, a_second: int) -> None:
        self._a_second = a_second
        self._level, self._at = 0.0, 0.0

    def take(self, amount: int, now: float) -> float:
        """Take some; returns seconds until there is more where it is used up, else 0."""
        self._level = max(0.0, self._level - (now - self._at) * self._a_second)
        self._level = min(self._level + amount, _MOST_OWED_S * self._a_second)
        self._at = now
        return max(0.0, self._level / self._a_second - 1.0)


def hold(transport: asyncio.ReadTransport, seconds: float) -> None:
    """Read nothing of it for a while: whoever writes there waits, and nobody else does."""
    if transport.is_reading():
        transport.pause_reading()
        asyncio.get_running_loop().call_later(seconds, read_on, transport)


def read_on(transport: asyncio.ReadTransport) -> None:
    """Read it again, unless it is closed."""
    if not transport.is_closing():
        transport.resume_reading()
