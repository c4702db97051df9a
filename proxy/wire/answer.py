"""The asking side of one request: what `ports.Client` means on a socket."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from turnwise.proxy.wire.framing import RequestHead
from turnwise.proxy.wire.headers import date_line, encode_answer
from turnwise.proxy.wire.outbox import Outlet
from turnwise.proxy.wire.ports import ClientWatcher, ResponseHead

if TYPE_CHECKING:
    from turnwise.proxy.wire.connection import Connection

_JOIN_BYTES = 16 * 1024
"""Parts up to this size are joined with their framing into one buffer; above it, copying costs more than a second buffer."""


class Answer:
    """Frames one answer and writes it; the head leaves together with the first bytes of the body."""

    __slots__ = (
        "_connection",
        "_has_body",
        "_head",
        "_held",
        "_is_chunked",
        "_is_flowing",
        "_is_paused",
        "_keeps_alive",
        "_outlet",
        "_remaining",
        "_watcher",
        "has_started",
        "is_finished",
        "is_gone",
    )

    _has_body: bool
    _held: bytes
    _is_chunked: bool
    _keeps_alive: bool
    _remaining: int | None
    """Bytes that are missing of a body with a length."""

    def __init__(self, outlet: Outlet, head: RequestHead, connection: Connection, *, is_paused: bool) -> None:
        self._outlet = outlet
        self._head = head
        self._connection = connection
        self._is_paused = is_paused
        self._watcher: ClientWatcher | None = None
        self._is_flowing = False
        """Whether a chunk can be written without another look: chunked, under way, the head is out."""
        self.has_started = False
        self.is_finished = False
        self.is_gone = False

    def watch(self, watcher: ClientWatcher | None) -> None:
        """See `Client.watch`."""
        self._watcher = watcher
        if watcher is None:
            return
        if self.is_gone:
            watcher.on_gone()
        elif self._is_paused:
            watcher.on_pause()

    def start(self, head: ResponseHead) -> None:
        """See `Client.start`; raises `RuntimeError` where an answer has started, `ValueError` on a field with a line break."""
        if self.has_started:
            raise RuntimeError("the answer has already started")
        if self.is_gone:
            return
        request, status, length = self._head, head.status, head.length
        block, has_date = encode_answer(head.headers, head.edits)
        lines = [status_line(status, head.phrase), block]
        self.has_started = True
        has_body = self._has_body = request.method != "HEAD" and status not in {204, 304}
        keeps_alive = request.keeps_alive and not self._connection.hub.is_draining
        self._is_chunked = False
        if length is not None:
            self._remaining = length if has_body else 0
            if status != 204:
                lines.append(b"Content-Length: %d\r\n" % length)
        else:
            self._remaining = None
            if has_body:
                if request.is_http11:
                    self._is_chunked = True
                    lines.append(b"Transfer-Encoding: chunked\r\n")
                else:
                    keeps_alive = False
        self._keeps_alive = keeps_alive
        if not has_date:
            lines.append(date_line())
        if not keeps_alive:
            lines.append(b"Connection: close\r\n")
        elif not request.is_http11:
            lines.append(b"Connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self._held = b"".join(lines)

    def write(self, data: bytes) -> None:
        """See `Client.write`; what exceeds the declared length is dropped, and the connection ends with the answer."""
        if self._is_flowing and 0 < len(data) <= _JOIN_BYTES:
            self._outlet.write(b"%x\r\n%b\r\n" % (len(data), data))
            return
        if self.is_gone or self.is_finished or not data:
            return
        if not self.has_started:
            raise RuntimeError("the answer has not started")
        if not self._has_body:
            return
        if self._remaining is not None:
            if len(data) > self._remaining:
                data = self._within_length(data, self._remaining)
            self._remaining -= len(data)
        held, outlet = self._held, self._outlet
        if held:
            self._held = b""
        self._is_flowing = self._is_chunked
        if len(data) > _JOIN_BYTES:
            before, after = (b"%b%x\r\n" % (held, len(data)), b"\r\n") if self._is_chunked else (held, b"")
            outlet.write(before)
            outlet.write(data)
            if after:
                outlet.write(after)
        elif self._is_chunked:
            outlet.write(b"%b%x\r\n%b\r\n" % (held, len(data), data))
            if held:
                outlet.flush()  # somebody waits for a first token: it leaves before others are read, and before it is looked at
        else:
            outlet.write(held + data if held else data)

    @property
    def write_chunk(self) -> Callable[[bytes], None] | None:
        """See `Client.write_chunk`."""
        return self._outlet.write if self._is_flowing else None

    def finish(self, data: bytes = b"") -> None:
        """See `Client.finish`; a body shorter than its length cuts the connection."""
        if self.is_gone or self.is_finished:
            return
        if not self.has_started:
            raise RuntimeError("the answer has not started")
        self._watcher = None
        if not self._has_body:
            data = b""
        remaining = self._remaining
        if remaining is not None:
            if remaining > len(data):
                self.abort()
                return
            if remaining < len(data):
                data = self._within_length(data, remaining)
        held, outlet = self._held, self._outlet
        if self._is_chunked:
            last = b"%b%x\r\n%b\r\n0\r\n\r\n" % (held, len(data), data) if data else held + b"0\r\n\r\n"
            outlet.write(last)
        elif len(data) > _JOIN_BYTES:
            if held:
                outlet.write(held)
            outlet.write(data)
        elif held or data:
            outlet.write(held + data)
        self.is_finished = True
        self._is_flowing = False
        self._connection.on_answered(keeps_alive=self._keeps_alive)

    def abort(self) -> None:
        """See `Client.abort`."""
        if not self.is_gone and not self.is_finished:
            self.is_gone = True
            self._is_flowing = False
            self._connection.cut()

    def closing(self) -> bool:
        """Tell the watcher that the server closes; False where nobody watches."""
        if self._watcher is None:
            return False
        self._watcher.on_closing()
        return True

    def gone(self) -> None:
        """Tell the watcher that the connection is closed."""
        if self.is_gone or self.is_finished:
            return
        self.is_gone = True
        self._is_flowing = False
        if self._watcher is not None:
            self._watcher.on_gone()

    def paused(self, is_paused: bool) -> None:  # noqa: FBT001 - the two states of one fact
        """Tell the watcher that the client is slow, or has caught up."""
        self._is_paused = is_paused
        if self._watcher is None:
            return
        if is_paused:
            self._watcher.on_pause()
        else:
            self._watcher.on_resume()

    def _within_length(self, data: bytes, remaining: int) -> bytes:
        self._keeps_alive = False
        return data[:remaining]


@lru_cache(maxsize=256)
def status_line(status: int, phrase: bytes = b"") -> bytes:
    """First line of an answer, with the usual phrase where none is given."""
    if not phrase:
        try:
            phrase = HTTPStatus(status).phrase.encode()
        except ValueError:
            phrase = b"Unknown"
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase)
