"""Bytes of a pipe as lines, within a bound."""

from __future__ import annotations

import msgspec

MAX_SKIPPED_BYTES = 64 * 1024 * 1024
"""Of a line past the bound, read and thrown away: some 30 ms of the loop, in pieces."""


class LineTooLongError(Exception):
    """A line has not ended within `MAX_SKIPPED_BYTES`."""


class Cut(msgspec.Struct, frozen=True, gc=False):
    """Stands for a line that passed the bound; what is left of it is read past."""

    head: bytes
    """How it begins."""


class Lines:
    """Splits what comes into lines; keeps at most `max_bytes` of one that has not ended."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._open = bytearray()
        self._skipped = 0
        """Bytes of the line that has not ended, where it passed the bound; else 0."""

    def feed(self, data: bytes) -> list[bytes | Cut]:
        """The lines that have ended, without their ends, and those that passed the bound; raises `LineTooLongError`."""
        if b"\n" not in data:
            return self._keep(data)
        first, *whole, rest = data.split(b"\n")
        found: list[bytes | Cut] = [first]
        if self._open or self._skipped:
            found = self._keep(first)
            if not self._skipped:
                found.append(bytes(self._open))
            self._open.clear()
            self._skipped = 0
        return [*found, *whole, *self._keep(rest)]

    def _keep(self, data: bytes) -> list[bytes | Cut]:
        """Add to the line that has not ended; what stands for it where it passes the bound by that."""
        if self._skipped:
            self._skipped += len(data)
            if self._skipped > MAX_SKIPPED_BYTES:
                raise LineTooLongError
            return []
        self._open += data
        if len(self._open) <= self._max_bytes:
            return []
        self._skipped = len(self._open)
        head = bytes(self._open[:256])
        self._open.clear()
        return [Cut(head)]
