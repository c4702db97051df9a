"""Server-sent events as MCP uses them: the data of each event is one message."""

from __future__ import annotations

from turnwise.tools_gateway.upstreams.allowance import EACH, weight


class Events:
    """Splits a stream into the data of its events; raises `ValueError` past `max_bytes` of one."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._data = bytearray()
        self.wasted = 0
        """Weight of the lines so far that hold no data and end no event."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that have ended; events without data are left out."""
        ended: list[bytes] = []
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            line = part
            if self._line:
                line = bytes(self._line + part)
                self._line.clear()
            self._take(line.removesuffix(b"\r"), ended)
        self._line += rest
        self._bound(len(self._line))
        return ended

    def _take(self, line: bytes, ended: list[bytes]) -> None:
        """One line; an empty one ends the event."""
        if not line:
            if self._data:
                ended.append(bytes(self._data))
                self._data.clear()
            else:
                self.wasted += EACH
        elif line.startswith(b"data:"):
            if value := line[5:].removeprefix(b" "):
                self._data += b"\n" + value if self._data else value
                self._bound(0)
            else:
                self.wasted += EACH
        else:
            self.wasted += weight(line)

    def _bound(self, more: int) -> None:
        """Raise `ValueError` where an event is too large."""
        if len(self._data) + more > self._max_bytes:
            raise ValueError("an event is too large")
