"""Bytes of a client connection cut into requests, one at a time."""

from __future__ import annotations

from turnwise.errors import ClientFault, Reason
from turnwise.proxy.wire.bodies import Body, ChunkedBody, LengthBody, body_too_large
from turnwise.proxy.wire.framing import RequestHead, check_partial_head, read_head
from turnwise.proxy.wire.ports import RawRequest

Received = tuple[RequestHead, RawRequest]
"""A complete request and the head that its answer must obey."""


class RequestReader:
    """Holds what has arrived and gives requests when asked; nothing is read of a request before `take`.

    After a `ClientFault` the bytes have no known meaning and the reader must not be used again.
    """

    __slots__ = ("_body", "_buffer", "_head_at", "_max_body_bytes", "_max_head_bytes", "_seen", "head")

    def __init__(self, *, max_head_bytes: int, max_body_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._max_body_bytes = max_body_bytes
        self._buffer = b""
        self._seen = 0
        self._body: Body | None = None
        self._head_at = 0.0
        self.head: RequestHead | None = None
        """Head of the request whose body is arriving."""

    @property
    def num_held(self) -> int:
        """Bytes that have arrived and were not read yet."""
        return len(self._buffer)

    @property
    def is_idle(self) -> bool:
        """Whether no byte of a next request is here."""
        return self.head is None and not self._buffer

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self._buffer = self._buffer + data if self._buffer else data

    def take(self, now: float, data: bytes = b"") -> Received | None:
        """The next request of what was fed and `data`, or None where bytes are missing; raises `ClientFault`."""
        if data:
            self._buffer = self._buffer + data if self._buffer else data
        head = self.head
        if head is None:
            buffer = self._buffer
            end = buffer.find(b"\r\n\r\n", self._seen - 3 if self._seen > 3 else 0) + 4
            if end < 4 or end > self._max_head_bytes:
                self._check_partial_head()
                return None
            self._seen = 0
            head = read_head(buffer[: end - 4])
            length = head.length
            if length is not None:
                if length > self._max_body_bytes:
                    raise body_too_large(self._max_body_bytes)
                if len(buffer) == end + length:  # all of it came in one read and nothing behind it: the usual case
                    self._buffer = b""
                    return head, RawRequest(head.method, head.target, head.headers, buffer[end:], now, now, head.fields)
            self.head = head
            self._head_at = now
            self._buffer = buffer[end:]
            self._body = ChunkedBody(self._max_body_bytes) if length is None else LengthBody(length)
        body = self._body
        assert body is not None
        after = body.feed(self._buffer)
        if after is None:
            self._buffer = b""
            return None
        self._buffer = after
        self.head = self._body = None
        return head, RawRequest(head.method, head.target, head.headers, body.read(), self._head_at, now, head.fields)

    def _check_partial_head(self) -> None:
        """Refuse a head that is too large already, or that no further byte can mend."""
        buffer = self._buffer
        if len(buffer) > self._max_head_bytes:
            raise ClientFault(f"the head is larger than {self._max_head_bytes} bytes", reason=Reason.HEAD_TOO_LARGE, status=431)
        if buffer:
            check_partial_head(buffer, seen=self._seen)
            self._seen = len(buffer)
