"""Whole lines out of reads that are cut anywhere."""

from __future__ import annotations

MAX_LINE_BYTES = 1024 * 1024
"""Longest unfinished line of a stream that is kept. Most of what matters stands in a few hundred bytes; the last event of the
Responses API repeats the whole answer and the tools besides."""


class Lines:
    """What whoever watches a stream does with reads that do not end with an event."""

    # Defaults of the class, since one is made for every call and most never write them.
    _held: bytes | bytearray = b""
    _is_overlong = False

    def _hold(self, data: bytes, limit: int) -> None:
        """Keep bytes for later; beyond `limit` forget them all and mark it."""
        if self._is_overlong or len(self._held) + len(data) > limit:
            self._is_overlong = True
            self._held = b""
            self._forgot()
        elif not self._held:
            self._held = data  # most answers come in one read
        else:
            if isinstance(self._held, bytes):
                self._held = bytearray(self._held)
            self._held += data

    def _lines(self, data: bytes) -> bytes:
        """The lines that end in a read; the one that it leaves open is held back."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        lines = b""
        if end:
            # What is left of a line that was too long starts with no `data:` and is passed over.
            lines, self._is_overlong = bytes(self._held) + data[:end], False
            self._held = b""
        self._hold(data[end:], MAX_LINE_BYTES)
        return lines

    def _forgot(self) -> None:
        """Something was too long to be kept."""
