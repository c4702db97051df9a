"""One connection to a replica: writes a request, pushes its answer, and says whether it may be used again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol, cast

from turnwise.proxy.wire.deadline import Deadline
from turnwise.proxy.wire.headers import encode_forwarded
from turnwise.proxy.wire.outbox import Outbox, Outlet
from turnwise.proxy.wire.ports import Origin, Outgoing, Sink, TakeRead
from turnwise.proxy.wire.responses import BrokenAnswer, End, ResponseReader

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose empty body is said to be empty."""
_REUSABLE = End.REUSABLE  # to look a member up in its enum takes ten times as long as a name
_JOIN_BYTES = 16 * 1024
"""Bodies up to this size are joined with their head into one buffer; above it, copying costs more than a second buffer."""


class Listener(Protocol):
    """Who waits for the answer on a connection."""

    @property
    def sink(self) -> Sink:
        """Where the answer is pushed up to its end."""

    def on_end(self, data: bytes) -> None:
        """See `Sink.on_end`; the connection no longer belongs to the exchange."""

    def on_broken(self, why: str, *, had_bytes: bool) -> None:
        """The connection died or its bytes were no answer; `had_bytes` is whether any byte of an answer had come."""

    def on_silent(self) -> None:
        """Nothing came for the idle timeout."""


class UpstreamConnection(asyncio.Protocol):
    """A kept connection; at most one listener at a time."""

    _transport: asyncio.Transport
    _outlet: Outlet

    def __init__(
        self,
        origin: Origin,
        *,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        clock: Callable[[], float],
        idle_timeout_s: float,
        keepalive_s: float,
        release: Callable[[UpstreamConnection], bool],
        forget: Callable[[UpstreamConnection], None],
    ) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._outbox = outbox
        self._clock = clock
        self._idle_timeout_s = idle_timeout_s
        self._keepalive_s = keepalive_s
        """How long it waits for another request."""
        self._release = release
        self._forget = forget
        self._deadline = Deadline(loop, clock, self._on_due)
        self._reader = ResponseReader()
        self._listener: Listener | None = None
        self._take: TakeRead | None = None
        """Who is offered reads first: set only while whole chunks have been read and the next begins."""
        self._had_bytes = False
        self._is_paused = False
        self._is_lost = False

    @property
    def is_usable(self) -> bool:
        """Whether a request may be written on it."""
        return not self._is_lost and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up."""
        # uvloop's transports do not derive from asyncio's, so that an isinstance check would fail.
        self._transport = transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._outlet = Outlet(self._outbox, transport)

    def send(self, head: bytes, outgoing: Outgoing, listener: Listener, now: float) -> None:
        """Write a request, of which `head` is the encoded head; its answer goes to `listener`."""
        body = outgoing.body
        self._reader.begin(is_head_request=outgoing.method == "HEAD")
        self._listener = listener
        self._had_bytes = False
        self._deadline.move(now + self._idle_timeout_s)
        if len(body) > _JOIN_BYTES:
            self._outlet.write(head)
            self._outlet.write(body)
        else:
            self._outlet.write(head + body)
        if outgoing.is_urgent:
            self._outlet.flush()

    def pause(self) -> None:
        """Stop reading; a replica that we do not read is not silent."""
        if not self._is_paused and self.is_usable:
            self._is_paused = True
            self._take = None
            self._transport.pause_reading()
            self._deadline.clear()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            if self.is_usable:
                self._transport.resume_reading()
                self._deadline.move(self._clock() + self._idle_timeout_s)

    def abort(self) -> None:
        """Cut the connection; nobody hears of it."""
        self._listener = self._take = None
        self._transport.abort()

    def drop(self) -> None:
        """Cut the connection; its listener hears of it."""
        self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self._outlet.close()

    def data_received(self, data: bytes) -> None:
        """Push what one read brought."""
        listener = self._listener
        if listener is None:
            self._transport.abort()
            return
        take = self._take
        if take is not None:
            now = self._clock()
            if take(data, now):
                self._deadline.at = now + self._idle_timeout_s
                return
            self._take = None
        self._had_bytes = True
        try:
            head, body, end = self._reader.feed(data)
        except BrokenAnswer as broken:
            self.abort()
            listener.on_broken(f"the answer is malformed: {broken}", had_bytes=True)
            return
        if head is not None:
            listener.sink.on_head(head)
            if self._listener is not listener:
                return
        if end is not None:
            self._end(listener, body, is_reusable=end is _REUSABLE)
            return
        if not self._is_paused:
            self._deadline.at = self._clock() + self._idle_timeout_s
        if body:
            take = listener.sink.on_body(body)
            if take is not None and self._listener is listener and not self._is_paused and self._reader.is_between_chunks:
                self._take = take

    def eof_received(self) -> bool:
        """The replica has closed: the end of an answer that ends so, else its loss."""
        listener = self._listener
        if listener is not None and self._reader.feed_eof():
            self._end(listener, b"", is_reusable=False)
        else:
            self._break("the replica closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._is_lost = True
        self._deadline.close()
        self._forget(self)
        self._break(f"the connection was lost: {exc}" if exc is not None else "the replica closed the connection")

    def _break(self, why: str) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.on_broken(why, had_bytes=self._had_bytes)

    def _end(self, listener: Listener, data: bytes, *, is_reusable: bool) -> None:
        """Give the connection back first, so that whoever hears of the end may use it at once."""
        self._listener = None
        if self._is_paused:
            self.resume()
        if self._outlet.size or self._transport.get_write_buffer_size():
            # The replica has answered without reading the whole request; what is left of it must not meet the next one.
            self._transport.abort()
        elif is_reusable and self._release(self):
            now = self.idle_since = self._clock()
            self._deadline.move(now + self._keepalive_s)
        else:
            self._outlet.close()
        listener.on_end(data)

    def _on_due(self) -> None:
        listener = self._listener
        if listener is None:
            self._forget(self)
            self._outlet.close()
            return
        self.abort()
        listener.on_silent()


def encode_request(origin: Origin, outgoing: Outgoing) -> bytes:
    """The head of a request, with the fields that belong to this hop; raises `ValueError` on a field with a line break."""
    method, body = outgoing.method, outgoing.body
    lines = (
        f"{method} {outgoing.target} HTTP/1.1\r\n".encode(),
        _host_line(origin),
        encode_forwarded(outgoing.headers, outgoing.edits, outgoing.drops),
        b"Content-Length: %d\r\n\r\n" % len(body) if body or method in _WITH_BODY else b"\r\n",
    )
    return b"".join(lines)


@lru_cache(maxsize=1024)
def _host_line(origin: Origin) -> bytes:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"Host: {host}:{origin.port}\r\n".encode()
