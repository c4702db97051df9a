"""Whole chunks of a stream, as they stand between their line ends.

Nearly every read of a stream is one small chunk that ends an event. Such a read can leave as it came, framing included: it is
neither taken out of its chunk nor put into another.
"""

from __future__ import annotations

MAX_BYTES = 1024
"""Longest read that is passed on as it came, framing included."""

EVENT_CHUNK_ENDS = (b"\n\n\r\n", b"\r\n\r\n\r\n")
"""What a chunk ends with that ends with an event."""

NO_CHUNK = b"\r"
"""What nothing begins with that a replica sends between chunks."""


def _beginnings() -> tuple[bytes, ...]:
    beginnings = [NO_CHUNK] * (MAX_BYTES + 1)
    for size in range(1, MAX_BYTES):
        line = b"%x\r\n" % size
        whole = len(line) + size + 2
        if whole <= MAX_BYTES:
            beginnings[whole] = line
    return tuple(beginnings)


BEGINNINGS = _beginnings()
"""By its length, the line that a whole chunk of that length begins with, as nearly every server writes it."""
