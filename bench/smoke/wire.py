"""The two ends that the product stands between, on sockets in its own loop: a replica that answers at once, and a client.

Both read into a buffer of their own and answer from bytes made beforehand, so that they ask for hardly any memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import cast

READ_BYTES = 256 * 1024
END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"
MODEL = "smoke"
BYTES_PER_TOKEN = 4
BLOCK_TOKENS = 16
NEW_TOKENS = 1024
"""Tokens of each prompt that a replica says were not in its cache."""

PAGES = {
    b"/v1/models": b'{"data":[{"id":"smoke","owned_by":"vllm","max_model_len":1000000}]}',
    b"/version": b'{"version":"0.32.0"}',
    b"/metrics": b'vllm:cache_config_info{block_size="16",num_gpu_blocks="1000000",prefix_caching_hash_algo="sha256"} 1.0\n',
}
"""What discovery asks for."""
_USAGE = b'{"prompt_tokens":%d,"completion_tokens":8,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d}}'
_ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"smoke","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"It is done, and the tests pass."},"logprobs":null,"finish_reason":"stop"}],"usage":'
)
_EVENT_HEAD = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"smoke","choices":['
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(delta: str, finish: str | None = None) -> bytes:
    """An event whose delta is this JSON."""
    reason = "null" if finish is None else f'"{finish}"'
    return _EVENT_HEAD + f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}]}}\n\n'.encode()


_EVENT, _LAST_EVENT = event('{"content":" token"}'), event("{}", "stop")


class Messages(asyncio.BufferedProtocol):
    """One end of a connection: messages come one after another, and each is told once its head and once its body is there."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._num_held = 0
        self._is_in_body = False
        self._left = 0
        """Bytes of the body still to come; of a chunked one, 0 until its last chunk has come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next bytes go: after those of a head that is not complete."""
        return self._view[self._num_held :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes in."""
        start, end = 0, nbytes
        if not self._is_in_body:
            end = self._num_held + nbytes
            start = self._buffer.find(END_OF_HEAD, 0, end) + len(END_OF_HEAD)
            if start < len(END_OF_HEAD):
                self._num_held = end
                return
            self._num_held = 0
            self._is_in_body = True
            self._left = self.on_head(bytes(self._view[:start]))
        self._left = self.on_body(self._buffer, start, end, self._left)
        if self._left == 0:
            self._is_in_body = False
            self.on_end()

    def on_head(self, head: bytes) -> int:
        """A head has come; gives the length of its body, or 1 where only its end will tell."""
        at = head.lower().find(LENGTH)
        return 0 if at < 0 else int(head[at + len(LENGTH) : head.index(b"\r\n", at)])

    def on_body(self, buffer: bytearray, start: int, end: int, left: int) -> int:  # noqa: ARG002 - of a chunked body
        """A part of the body stands in the buffer; gives how many bytes are left."""
        return left - (end - start)

    def on_end(self) -> None:
        """The message is complete."""


class Stream:
    """A stream whose next event is written once the client has the one before, so that each is read and relayed alone."""

    def __init__(self, first: bytes = _EVENT, each: bytes = _EVENT, last: bytes = _LAST_EVENT) -> None:
        self._first, self._each, self._last = _chunk(first), _chunk(each), _chunk(last)
        self.num_events = 0
        """Events of each answer; 0 for answers that are no stream."""
        self._left: Iterator[bytes] = iter(())
        self._transport: asyncio.Transport | None = None

    def begin(self, transport: asyncio.Transport, prompt_tokens: int) -> None:
        """Write the head and the first event."""
        last = self._last + _chunk(_EVENT_HEAD + b'],"usage":' + usage(prompt_tokens) + b"}\n\n")
        last += _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        self._left = iter([self._each] * (self.num_events - 1) + [last])
        self._transport = transport
        transport.write(_STREAM_HEAD + self._first)

    def go_on(self) -> None:
        """Write the next event."""
        event = next(self._left, None)
        if event is not None and self._transport is not None:
            self._transport.write(event)


class Replica(Messages):
    """A connection of a replica; its tokens have four bytes, and its cache held most of every prompt."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream
        self._path = b""
        self._num_bytes = 0

    def on_head(self, head: bytes) -> int:
        """See `Messages.on_head`."""
        self._path = head.split(b" ", 2)[1]
        self._num_bytes = super().on_head(head)
        return self._num_bytes

    def on_end(self) -> None:
        """Answer."""
        prompt_tokens = self._num_bytes // BYTES_PER_TOKEN
        if not self._num_bytes:
            page = PAGES.get(self._path)
            self.transport.write(_answer(200, page) if page is not None else _answer(404, b"{}"))
        elif self._stream.num_events:
            self._stream.begin(self.transport, prompt_tokens)
        else:
            self.transport.write(_answer(200, _ANSWER + usage(prompt_tokens) + b"}"))


class Client(Messages):
    """A connection of a client: it plays requests, each once the one before is answered."""

    def __init__(self, on_event: Callable[[], None]) -> None:
        super().__init__()
        self._on_event = on_event
        self._is_chunked = False
        self._requests: Iterator[bytes] = iter(())
        self._done: asyncio.Future[None] | None = None

    def play(self, requests: Sequence[bytes]) -> asyncio.Future[None]:
        """Send requests; the future fails where an answer is no success or the connection closes."""
        self._requests = iter(requests)
        self._done = asyncio.get_running_loop().create_future()
        self.on_end()
        return self._done

    def on_head(self, head: bytes) -> int:
        """See `Messages.on_head`."""
        if not head.startswith(b"HTTP/1.1 200 "):
            self._fail(head.decode("latin-1"))
        self._is_chunked = b"chunked" in head
        return 1 if self._is_chunked else super().on_head(head)

    def on_body(self, buffer: bytearray, start: int, end: int, left: int) -> int:
        """See `Messages.on_body`; events are told."""
        if not self._is_chunked:
            return super().on_body(buffer, start, end, left)
        if buffer.find(b"\n\n", start, end) >= 0:
            self._on_event()
        return 0 if buffer.endswith(b"0\r\n\r\n", start, end) else 1

    def on_end(self) -> None:
        """Send the next request."""
        request = next(self._requests, None)
        if request is not None:
            self.transport.write(request)
        elif self._done is not None and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail, if there was something to wait for."""
        self._fail(f"the connection is closed: {exc}")

    def _fail(self, why: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(RuntimeError(why))


def usage(prompt_tokens: int) -> bytes:
    """What a replica says of a prompt's tokens."""
    cached_tokens = max(0, prompt_tokens - NEW_TOKENS) // BLOCK_TOKENS * BLOCK_TOKENS
    return _USAGE % (prompt_tokens, prompt_tokens + 8, cached_tokens)


def _answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
