"""One answer from a replica's connection to a client's, pushed read by read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache

import msgspec

from turnwise.dialects.base import StreamFilter, Unread, Watcher
from turnwise.errors import Overloaded, Reason, TurnwiseError
from turnwise.proxy.wire.chunks import BEGINNINGS, EVENT_CHUNK_ENDS, MAX_BYTES
from turnwise.proxy.wire.ports import Client, Exchange, Origin, Outgoing, ResponseHead, TakeRead, Upstream
from turnwise.types import Headers


class Relay:
    """One attempt: a request on its way to a replica, its answer on its way to the client, and what became of it so far.

    It is the sink of the exchange and the watcher of the client at once: nothing is awaited between a read and its write.
    The head is held until the first byte of the body that passes the filter, or the end: a failure before leaves the client
    untouched. A server that closes ends the answer as a failure of the replica would. After the first byte a failure ends a
    stream with `error_event`, and cuts any other answer.

    `begin` it, await `done`, and `end` it whatever happens. It is no coroutine, for each one within another costs every call
    a frame and a step more.
    """

    # Defaults of the class, because a dozen assignments for each call would take a twentieth of the wire's time. Times are on
    # the loop's clock.
    status: int | None = None
    """Status that the replica gave, whether or not the client saw it."""
    is_complete = False
    """Whether the whole answer was written to the client."""
    has_started = False
    """Whether anything was written to the client; if not, another replica may be tried."""
    is_client_gone = False
    """Whether the client left before the answer was complete."""
    fault: TurnwiseError | None = None
    """What ended it early; a retryable one asks for another replica only where nothing has started."""
    sent_at: float | None = None
    """When a connection of the replica had the request."""
    head_at: float | None = None
    first_byte_at: float | None = None
    """When the first bytes of the body came."""
    last_byte_at: float | None = None
    body_bytes = 0
    """Bytes of body that the replica sent."""
    _exchange: Exchange | None = None
    _head: ResponseHead | None = None
    _is_stream = False
    _can_append = False

    def __init__(
        self,
        client: Client,
        *,
        answer_headers: Callable[[ResponseHead], ResponseHead],
        tap: Watcher | None,
        stream_filter: StreamFilter | None,
        error_event: Callable[[TurnwiseError], bytes],
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`answer_headers` makes the head that the client gets; `loop` runs: to ask for the running one costs a system call."""
        self.done = loop.create_future()
        """Resolved when nothing more will come."""
        self._client = client
        self._answer_headers = answer_headers
        self._tap = tap
        self._filter = stream_filter
        self._error_event = error_event
        self._clock = clock

    def begin(self, upstream: Upstream, origin: Origin, outgoing: Outgoing) -> None:
        """Send the request, unless the client has left already."""
        if self._client.is_gone:
            self.on_gone()
            return
        self._exchange = upstream.open(origin, outgoing, self)
        self._client.watch(self)

    def end(self) -> None:
        """Let go of both sides; where the answer is not over, the request is dropped at the replica."""
        if not self.is_complete:
            self._drop()
            self._client.watch(None)

    def _drop(self) -> None:
        if self._exchange is not None:
            self._exchange.abort()
            self._exchange = None

    def on_sent(self) -> None:
        """See `Sink.on_sent`; told again where a kept connection had died."""
        self.sent_at = self._clock()

    def on_head(self, head: ResponseHead) -> None:
        """See `Sink.on_head`."""
        self._head = head
        self.status = head.status
        self.head_at = self._clock()
        is_stream = self._is_stream = _is_event_stream(head.headers)
        if not is_stream:
            self._filter = None
        if self._tap is not None:
            self._tap.on_head(head.status, is_stream=is_stream)

    def on_body(self, data: bytes) -> TakeRead | None:
        """See `Sink.on_body`."""
        passed = data if self._filter is None else self._filter.feed(data)
        if passed:
            if not self.has_started:
                self._start()
            self._client.write(passed)
        now = self.last_byte_at = self._clock()
        if self.first_byte_at is None:
            self.first_byte_at = now
        self.body_bytes += len(data)
        tap = self._tap
        if tap is None:
            return None
        self._tap = tap = tap.feed(data, now) or tap
        unread = tap.unread
        return None if unread is None else self._short_way(unread)

    def on_end(self, data: bytes = b"") -> None:
        """See `Sink.on_end`."""
        last = data
        if self._filter is not None:
            last = (self._filter.feed(data) if data else b"") + self._filter.close()
        if not self.has_started:
            self._start()
        self._client.finish(last)
        self.is_complete = True
        now, tap = self._clock(), self._tap
        if data:
            self.last_byte_at = now
            if self.first_byte_at is None:
                self.first_byte_at = now
            self.body_bytes += len(data)
            if tap is not None:
                tap.feed(data, now)
        if tap is not None:
            tap.close(now)
        self._resolve()

    def on_failed(self, fault: TurnwiseError) -> None:
        """See `Sink.on_failed`."""
        self.fault = fault
        if self.has_started and self._can_append:
            held = b"" if self._filter is None else self._filter.close()  # the stream may have stopped within an event
            self._client.finish(held + self._error_event(fault))
        elif self.has_started:
            self._client.abort()
        self._resolve()

    def on_gone(self) -> None:
        """See `ClientWatcher.on_gone`."""
        self.is_client_gone = True
        self._drop()
        self._resolve()

    def on_closing(self) -> None:
        """See `ClientWatcher.on_closing`."""
        self._drop()
        self.on_failed(Overloaded("the proxy is shutting down", reason=Reason.DRAINING))

    def on_pause(self) -> None:
        """See `ClientWatcher.on_pause`."""
        if self._exchange is not None:
            self._exchange.pause()

    def on_resume(self) -> None:
        """See `ClientWatcher.on_resume`."""
        if self._exchange is not None:
            self._exchange.resume()

    def _start(self) -> None:
        assert self._head is not None
        head = self._answer_headers(self._head)
        if self._filter is not None and head.length is not None:
            head = msgspec.structs.replace(head, length=None)
        self.has_started = True
        self._can_append = self._is_stream and head.length is None
        self._client.start(head)

    def _short_way(self, unread: Unread) -> TakeRead | None:
        """Who takes reads from now on that may leave as they came; None where each must be framed or filtered before."""
        write_chunk, stream_filter = self._client.write_chunk, self._filter
        mark = None if stream_filter is None else stream_filter.mark
        if write_chunk is None or (stream_filter is not None and mark is None):
            return None
        reads, times, limit = unread.reads, unread.times, unread.limit

        def take(data: bytes, now: float) -> bool:
            size = len(data)
            if size > MAX_BYTES or len(reads) >= limit:
                return False
            beginning = BEGINNINGS[size]
            if not data.startswith(beginning) or not data.endswith(EVENT_CHUNK_ENDS) or (mark is not None and mark in data):
                return False
            write_chunk(data)
            body = data[len(beginning) : -2]
            reads.append(body)
            times.append(now)
            self.last_byte_at = now
            self.body_bytes += len(body)
            return True

        return take

    def _resolve(self) -> None:
        self._exchange = None  # each holds the other
        if not self.done.done():
            self.done.set_result(None)


@lru_cache(maxsize=256)
def _is_event_stream(headers: Headers) -> bool:
    for name, value in headers:
        if len(name) == 12 and name.lower() == b"content-type":
            return value.lstrip().lower().startswith(b"text/event-stream")
    return False
