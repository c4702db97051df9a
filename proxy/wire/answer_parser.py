"""Any answer of a replica, read by llhttp."""

from __future__ import annotations

from enum import Enum

import httptools

from turnwise.proxy.wire.headers import end_to_end
from turnwise.proxy.wire.ports import ResponseHead

_MAX_HEAD_BYTES = 256 * 1024


class BrokenAnswer(Exception):
    """The bytes are no answer; the connection is of no more use."""


class End(Enum):
    """What the end of an answer leaves behind."""

    REUSABLE = "reusable"
    SPENT = "spent"


Piece = tuple[ResponseHead | None, bytes, End | None]
"""What one read brought: a head, body bytes and the end, each where it came, in that order."""


class AnswerParser:
    """Reads one answer at a time; `begin` before each."""

    __slots__ = (
        "_body",
        "_end",
        "_has_head",
        "_head",
        "_head_bytes",
        "_headers",
        "_is_head_request",
        "_parser",
        "_phrase",
        "is_between_chunks",
        "is_until_close",
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = None

    def begin(self, *, is_head_request: bool) -> None:
        """Expect the answer to a new request; one to `HEAD` ends at its head."""
        self._is_head_request = is_head_request
        self._has_head = False
        self.is_between_chunks = False
        """Whether all bytes so far end with a whole chunk, so that whole chunks need not be fed."""
        self.is_until_close = False
        """Whether the end of the connection is the end of the answer; else it was cut."""
        self._head: ResponseHead | None = None
        self._head_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._phrase = b""
        self._body: list[bytes] = []
        self._end: End | None = None

    def feed(self, data: bytes) -> Piece:
        """Read on; raises `BrokenAnswer` where the bytes are malformed."""
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        if not self._has_head:
            self._head_bytes += len(data)
        self.is_between_chunks = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._parser = None
            if self._end is None:
                cause = error.__context__ if isinstance(error.__context__, BrokenAnswer) else error
                raise BrokenAnswer(str(cause)) from None
            self._end = End.SPENT
        if not self._has_head and self._head_bytes > _MAX_HEAD_BYTES:
            raise BrokenAnswer("the head is too large")
        if self.is_between_chunks:
            # What may follow the chunk is a part of a line; a whole one has said that a chunk begins.
            self.is_between_chunks = data.endswith(b"\n")
        head, self._head = self._head, None
        parts = self._body
        if parts:
            self._body = []
        return head, parts[0] if len(parts) == 1 else b"".join(parts), self._end

    # What llhttp calls.

    def on_message_begin(self) -> None:
        """A head begins: the answer's or one that follows a 1xx head."""
        if self._end is not None:
            raise BrokenAnswer("more bytes follow the answer")
        self._headers = []
        self._phrase = b""

    def on_status(self, phrase: bytes) -> None:
        """A part of the phrase."""
        self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; trailers are dropped."""
        if not self._has_head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise BrokenAnswer(f"status {status} answers nothing that was asked")
            return
        if parser.get_http_version() not in {"1.1", "1.0"}:
            raise BrokenAnswer("the replica does not speak HTTP/1.1")
        length, is_chunked = _framing(self._headers)
        headers = end_to_end(tuple(self._headers))
        self._has_head = True
        is_bodiless = self._is_head_request or status in {204, 304}
        self.is_until_close = length is None and not is_chunked and not is_bodiless
        self._head = ResponseHead(status=status, phrase=self._phrase, headers=headers, length=length)
        if is_bodiless:
            self._end = End.REUSABLE if parser.should_keep_alive() else End.SPENT
            if self._is_head_request and (length or is_chunked):
                # llhttp cannot know that the body it now waits for never comes.
                raise BrokenAnswer("the answer to HEAD ends here")

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._body.append(data)

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self.is_between_chunks = False

    def on_chunk_complete(self) -> None:
        """A chunk is complete, the line end behind it included."""
        self.is_between_chunks = self._end is None

    def on_message_complete(self) -> None:
        """The answer is complete, unless it was a 1xx head."""
        if self._has_head and self._end is None:
            assert self._parser is not None
            self.is_between_chunks = False
            self._end = End.REUSABLE if self._parser.should_keep_alive() else End.SPENT


def _framing(headers: list[tuple[bytes, bytes]]) -> tuple[int | None, bool]:
    """Declared length and whether the body is chunked; llhttp has refused what contradicts itself."""
    length: int | None = None
    is_chunked = False
    for name, value in headers:
        if len(name) == 14 and name.lower() == b"content-length":
            length = int(value)
        elif len(name) == 17 and name.lower() == b"transfer-encoding":
            if is_chunked or value.strip(b" \t").lower() != b"chunked":
                raise BrokenAnswer("a transfer coding other than chunked")
            is_chunked = True
    return length, is_chunked
