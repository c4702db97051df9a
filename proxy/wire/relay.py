"""One answer from a replica's connection to a client's, pushed read by read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from turnwise.dialects.base import StreamFilter, Watcher
from turnwise.errors import Overloaded, Reason, TurnwiseError
from turnwise.proxy.wire.ports import Client, Exchange, Origin, Outgoing, ResponseHead, Upstream


class RelayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one attempt; times are on the loop's clock, None where it did not come so far."""

    status: int | None
    """Status that the replica gave, whether or not the client saw it."""
    is_complete: bool
    """Whether the whole answer was written to the client."""
    has_started: bool
    """Whether anything was written to the client; if not, another replica may be tried."""
    is_client_gone: bool
    fault: TurnwiseError | None
    """What ended it early; a retryable one asks for another replica only where nothing has started."""
    sent_at: float | None
    head_at: float | None
    first_byte_at: float | None
    last_byte_at: float | None
    body_bytes: int
    """Bytes of body that the replica sent."""


async def relay(
    upstream: Upstream,
    origin: Origin,
    outgoing: Outgoing,
    client: Client,
    *,
    answer_headers: Callable[[ResponseHead], ResponseHead],
    tap: Watcher | None,
    stream_filter: StreamFilter | None,
    error_event: Callable[[TurnwiseError], bytes],
    clock: Callable[[], float],
) -> RelayResult:
    """Send a request to a replica and its answer to the client, and say what became of it.

    The head is held until the first byte of the body that passes the filter, or the end: a failure before leaves the client
    untouched. A server that closes ends the answer as a failure of the replica would.
    `answer_headers` makes the head that the client gets. After the first byte a failure ends a stream with `error_event`, and
    cuts any other answer. Cancelling it drops the request at the replica.
    """
    push = _Push(
        client,
        answer_headers=answer_headers,
        tap=tap,
        stream_filter=stream_filter,
        error_event=error_event,
        clock=clock,
        done=asyncio.get_running_loop().create_future(),
    )
    if client.is_gone:
        push.on_gone()
        return push.result()
    exchange = push.exchange = upstream.open(origin, outgoing, push)
    client.watch(push)
    try:
        await push.done
    except asyncio.CancelledError:
        exchange.abort()
        raise
    finally:
        client.watch(None)
    return push.result()


class _Push:
    """Sink of the exchange and watcher of the client at once: nothing is awaited between a read and its write."""

    def __init__(
        self,
        client: Client,
        *,
        answer_headers: Callable[[ResponseHead], ResponseHead],
        tap: Watcher | None,
        stream_filter: StreamFilter | None,
        error_event: Callable[[TurnwiseError], bytes],
        clock: Callable[[], float],
        done: asyncio.Future[None],
    ) -> None:
        self.exchange: Exchange | None = None
        self.done = done
        self._client = client
        self._answer_headers = answer_headers
        self._tap = tap
        self._filter = stream_filter
        self._error_event = error_event
        self._clock = clock
        self._head: ResponseHead | None = None
        self._is_stream = False
        self._can_append = False
        self._has_started = False
        self._is_complete = False
        self._is_client_gone = False
        self._fault: TurnwiseError | None = None
        self._sent_at: float | None = None
        self._head_at: float | None = None
        self._first_byte_at: float | None = None
        self._last_byte_at: float | None = None
        self._body_bytes = 0

    def result(self) -> RelayResult:
        """What is known by now."""
        return RelayResult(
            status=self._head.status if self._head is not None else None,
            is_complete=self._is_complete,
            has_started=self._has_started,
            is_client_gone=self._is_client_gone,
            fault=self._fault,
            sent_at=self._sent_at,
            head_at=self._head_at,
            first_byte_at=self._first_byte_at,
            last_byte_at=self._last_byte_at,
            body_bytes=self._body_bytes,
        )

    def on_sent(self) -> None:
        """See `Sink.on_sent`; told again where a kept connection had died."""
        self._sent_at = self._clock()

    def on_head(self, head: ResponseHead) -> None:
        """See `Sink.on_head`."""
        self._head = head
        self._head_at = self._clock()
        is_stream = self._is_stream = _is_event_stream(head)
        if not is_stream:
            self._filter = None
        if self._tap is not None:
            self._tap.on_head(head.status, is_stream=is_stream)

    def on_body(self, data: bytes) -> None:
        """See `Sink.on_body`."""
        passed = data if self._filter is None else self._filter.feed(data)
        if passed:
            if not self._has_started:
                self._start()
            self._client.write(passed)
        now = self._last_byte_at = self._clock()
        if self._first_byte_at is None:
            self._first_byte_at = now
        self._body_bytes += len(data)
        if self._tap is not None:
            self._tap.feed(data, now)

    def on_end(self) -> None:
        """See `Sink.on_end`."""
        if not self._has_started:
            self._start()
        self._write_held()
        self._client.finish()
        self._is_complete = True
        if self._tap is not None:
            self._tap.close(self._clock())
        self._resolve()

    def on_failed(self, fault: TurnwiseError) -> None:
        """See `Sink.on_failed`."""
        self._fault = fault
        if self._has_started and self._can_append:
            self._write_held()
            self._client.write(self._error_event(fault))
            self._client.finish()
        elif self._has_started:
            self._client.abort()
        self._resolve()

    def on_gone(self) -> None:
        """See `ClientWatcher.on_gone`."""
        self._is_client_gone = True
        if self.exchange is not None:
            self.exchange.abort()
        self._resolve()

    def on_closing(self) -> None:
        """See `ClientWatcher.on_closing`."""
        if self.exchange is not None:
            self.exchange.abort()
        self.on_failed(Overloaded("the proxy is shutting down", reason=Reason.DRAINING))

    def on_pause(self) -> None:
        """See `ClientWatcher.on_pause`."""
        if self.exchange is not None:
            self.exchange.pause()

    def on_resume(self) -> None:
        """See `ClientWatcher.on_resume`."""
        if self.exchange is not None:
            self.exchange.resume()

    def _start(self) -> None:
        assert self._head is not None
        head = self._answer_headers(self._head)
        if self._filter is not None and head.length is not None:
            head = msgspec.structs.replace(head, length=None)
        self._has_started = True
        self._can_append = self._is_stream and head.length is None
        self._client.start(head)

    def _write_held(self) -> None:
        """Write what the filter holds back: the stream may have stopped within an event."""
        if self._filter is not None:
            self._client.write(self._filter.close())

    def _resolve(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _is_event_stream(head: ResponseHead) -> bool:
    for name, value in head.headers:
        if len(name) == 12 and name.lower() == b"content-type":
            return value.lstrip().lower().startswith(b"text/event-stream")
    return False
