"""Where a sibling hears a worker: a datagram socket that is never waited for."""

from __future__ import annotations

from collections import deque
from typing import Protocol

MAX_BACKLOG = 64
"""Datagrams that wait for one sibling: a busy one reads again within some turns of its loop, a dead one never."""


class Sender(Protocol):
    """The part of a socket that is needed here."""

    def send(self, data: bytes, /) -> int:
        """Send one datagram; raises `BlockingIOError` where its reader has too many."""


class Link:
    """Sends in order; what cannot be sent now waits. Beyond `MAX_BACKLOG` the oldest is dropped: newer state says more."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._backlog: deque[bytes] = deque()
        self.num_sent = 0
        self.num_dropped = 0
        self.has_missed = False
        """Whether its reader has missed something that was dropped for want of room; who tells it anew takes this back."""

    @property
    def has_backlog(self) -> bool:
        """Whether anything waits."""
        return bool(self._backlog)

    def send(self, datagram: bytes) -> None:
        """Send a datagram, or let it wait."""
        if not self._backlog and self._is_sent(datagram):
            return
        if len(self._backlog) == MAX_BACKLOG:
            self._backlog.popleft()
            self.num_dropped += 1
            self.has_missed = True
        self._backlog.append(datagram)

    def retry(self) -> None:
        """Send what waits, as far as it goes."""
        while self._backlog and self._is_sent(self._backlog[0]):
            self._backlog.popleft()

    def _is_sent(self, datagram: bytes) -> bool:
        """Try to send; False where it may be tried again."""
        try:
            self._sender.send(datagram)
        except BlockingIOError:
            return False
        except OSError:  # it can never be sent; what comes later must not wait behind it
            self.num_dropped += 1
            return True
        self.num_sent += 1
        return True
