"""Bytes of a pipe as lines, within a bound; and how much of what is no answer is taken in a second."""

from __future__ import annotations

NOISE_A_SECOND = 64 * 1024
"""Weight of what an upstream may say that is no answer, notifications among it: 5 ms of the loop that all of them share."""

_EACH = 64
_MOST_OWED_S = 5.0


def weight(message: bytes) -> int:
    """What a message that is no answer counts for: short ones cost as much to look at."""
    return len(message) + _EACH


class LineTooLongError(Exception):
    """A line passed the bound; `head` is how it begins."""

    def __init__(self, head: bytes) -> None:
        super().__init__("a line is too long")
        self.head = head


class Lines:
    """Splits what comes into lines; keeps at most `max_bytes` of one that has not ended."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._open = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that have ended, without their ends; raises `LineTooLongError`."""
        if b"\n" not in data:
            self._keep(data)
            return []
        first, *whole, rest = data.split(b"\n")
        if self._open:
            self._keep(first)
            first = bytes(self._open)
            self._open.clear()
        self._keep(rest)
        return [first, *whole]

    def _keep(self, data: bytes) -> None:
        """Add to the line that has not ended."""
        self._open += data
        if len(self._open) > self._max_bytes:
            raise LineTooLongError(bytes(self._open[:256]))


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
