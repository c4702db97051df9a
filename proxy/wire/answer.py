"""The asking side of one request: what `ports.Client` means on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from turnwise.proxy.wire.framing import RequestHead
from turnwise.proxy.wire.headers import date_line, encode
from turnwise.proxy.wire.ports import ClientWatcher, ResponseHead
from turnwise.types import Headers

_JOIN_BYTES = 16 * 1024
"""Parts up to this size are joined with their framing into one buffer; above it, copying costs more than a second buffer."""


class Answer:
    """Frames one answer and writes it; the head leaves together with the first bytes of the body."""

    __slots__ = (
        "_has_body",
        "_head",
        "_held",
        "_is_chunked",
        "_is_draining",
        "_is_paused",
        "_keeps_alive",
        "_on_finished",
        "_remaining",
        "_transport",
        "_watcher",
        "has_started",
        "is_finished",
        "is_gone",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        head: RequestHead,
        *,
        is_draining: Callable[[], bool],
        is_paused: bool,
        on_finished: Callable[[bool], None],
    ) -> None:
        self._transport = transport
        self._head = head
        self._is_draining = is_draining
        self._is_paused = is_paused
        self._on_finished = on_finished
        self._watcher: ClientWatcher | None = None
        self._held = b""
        self._has_body = True
        self._is_chunked = False
        self._keeps_alive = False
        self._remaining: int | None = None
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
        fields = encode(head.headers)
        self.has_started = True
        self._has_body = self._head.method != "HEAD" and head.status not in {204, 304}
        self._keeps_alive = self._head.keeps_alive and not self._is_draining()
        parts = [status_line(head.status, head.phrase), fields]
        if head.length is not None:
            if head.status != 204:
                parts.append(b"Content-Length: %d\r\n" % head.length)
            self._remaining = head.length if self._has_body else 0
        elif self._has_body:
            if self._head.is_http11:
                self._is_chunked = True
                parts.append(b"Transfer-Encoding: chunked\r\n")
            else:
                self._keeps_alive = False
        parts.append(self._closing_lines(head.headers))
        self._held = b"".join(parts)

    def write(self, data: bytes) -> None:
        """See `Client.write`; what exceeds the declared length is dropped, and the connection ends with the answer."""
        if self.is_gone or self.is_finished or not self._has_body or not data:
            return
        if not self.has_started:
            raise RuntimeError("the answer has not started")
        if self._remaining is not None:
            if len(data) > self._remaining:
                data = data[: self._remaining]
                self._keeps_alive = False
            self._remaining -= len(data)
        head, self._held = self._held, b""
        if self._is_chunked:
            head = b"%b%x\r\n" % (head, len(data))
            if len(data) <= _JOIN_BYTES:
                self._transport.write(b"%b%b\r\n" % (head, data))
            else:
                self._transport.writelines([head, data, b"\r\n"])
        elif len(data) <= _JOIN_BYTES:
            self._transport.write(head + data if head else data)
        else:
            self._transport.writelines([head, data] if head else [data])

    def finish(self) -> None:
        """See `Client.finish`; a body shorter than its length cuts the connection."""
        if self.is_gone or self.is_finished:
            return
        if not self.has_started:
            raise RuntimeError("the answer has not started")
        if self._remaining:
            self.abort()
            return
        last = self._held + b"0\r\n\r\n" if self._is_chunked else self._held
        self._held = b""
        if last:
            self._transport.write(last)
        self.is_finished = True
        self._on_finished(self._keeps_alive)

    def abort(self) -> None:
        """See `Client.abort`."""
        if not self.is_gone and not self.is_finished:
            self.is_gone = True
            self._transport.abort()

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

    def _closing_lines(self, headers: Headers) -> bytes:
        """The `Date` and `Connection` lines that the answer needs, and the blank line."""
        has_date = any(len(name) == 4 and name.lower() == b"date" for name, _ in headers)
        date = b"" if has_date else date_line()
        if not self._keeps_alive:
            return date + b"Connection: close\r\n\r\n"
        return date + b"\r\n" if self._head.is_http11 else date + b"Connection: keep-alive\r\n\r\n"


def status_line(status: int, phrase: bytes = b"") -> bytes:
    """First line of an answer, with the usual phrase where none is given."""
    if not phrase:
        try:
            phrase = HTTPStatus(status).phrase.encode()
        except ValueError:
            phrase = b"Unknown"
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase)
