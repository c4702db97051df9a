"""Bodies of requests as they arrive: by length and chunked."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Protocol

from turnwise.errors import ClientFault, Reason
from turnwise.proxy.wire.framing import FIELD_LINE, bad_framing

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_TRAILERS = re.compile(rb"(?:(?!(?i:content-length|transfer-encoding|host):)" + FIELD_LINE + rb")*+\r\n")
"""Trailers without a field that would have framed or routed the request, had it stood in the head."""

_MAX_LINE_BYTES = 1024
FREE_FRAMING_BYTES = 64 * 1024
"""Bytes of framing that a body may have beyond the bytes that it frames.

A chunk costs a step of the parser and at least five bytes of framing, however little it holds. Clients that send each piece
of a JSON encoder as a chunk hold about five bytes in each, so they pass; a body that goes on with less is made to cost.
"""
_MAX_TRAILER_BYTES = 8 * 1024


class Body(Protocol):
    """A body under way."""

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; once the body is complete, what follows it, before that None. Raises `ClientFault`."""

    def read(self) -> bytes:
        """The complete body."""


def body_too_large(limit: int) -> ClientFault:
    """The fault of a body above the limit, in bytes."""
    return ClientFault(f"the body is larger than {limit} bytes", reason=Reason.BODY_TOO_LARGE, status=413)


class LengthBody:
    """A body of known length."""

    __slots__ = ("_buffer", "_remaining")

    def __init__(self, length: int) -> None:
        self._remaining = length
        self._buffer = BytesIO()  # hands its bytes out without a copy, unlike a bytearray

    def feed(self, data: bytes) -> bytes | None:
        """See `Body`."""
        part = data[: self._remaining]
        self._remaining -= self._buffer.write(part)
        return None if self._remaining else data[len(part) :]

    def read(self) -> bytes:
        """See `Body`."""
        return self._buffer.getvalue()


class ChunkedBody:
    """A chunked body of at most `limit` bytes; extensions and trailers are checked and dropped."""

    __slots__ = ("_buffer", "_framing", "_held", "_limit", "_remaining", "_size", "_step")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._framing = 0
        self._buffer = BytesIO()
        self._held = b""
        self._remaining = 0
        self._step: _Step = ChunkedBody._read_size  # unbound: a bound one is a cycle that keeps the body until a collection

    def feed(self, data: bytes) -> bytes | None:
        """See `Body`."""
        if self._held:
            data = self._held + data
            self._held = b""
        at = 0
        while (next_at := self._step(self, data, at)) is not None:
            if next_at < 0:
                return data[~next_at:]
            at = next_at
        return None

    def read(self) -> bytes:
        """See `Body`."""
        return self._buffer.getvalue()

    # Each step reads one element at `at` and returns where the next begins, its complement (~) where the body ends, or None
    # where more bytes are needed.

    def _read_size(self, data: bytes, at: int) -> int | None:
        """Read a chunk size; chunks that are here as a whole are taken along, for they are many where they are small."""
        while (match := _CHUNK_LINE.match(data, at, at + _MAX_LINE_BYTES)) is not None:
            start = match.end()
            size = int(match[1], 16)
            self._size += size
            if self._size > self._limit:
                raise body_too_large(self._limit)
            self._framing += start - at + 2  # the line and the end of the data
            if self._framing > self._size + FREE_FRAMING_BYTES:
                raise bad_framing("the chunks hold more framing than body: use larger chunks")
            end = start + size
            if not size or data[end : end + 2] != b"\r\n":
                self._remaining = size
                self._step = ChunkedBody._read_data if size else ChunkedBody._read_trailers
                return start
            self._buffer.write(data[start:end])
            at = end + 2
        if data.find(b"\r\n", at, at + _MAX_LINE_BYTES) >= 0:
            raise bad_framing("a chunk size is not a plain hexadecimal number")
        if data.find(b"\n", at) >= 0 or len(data) - at >= _MAX_LINE_BYTES:
            raise bad_framing("a chunk size line is too long or does not end in CRLF")
        self._held = data[at:]
        return None

    def _read_data(self, data: bytes, at: int) -> int | None:
        num_written = self._buffer.write(data[at : at + self._remaining])
        self._remaining -= num_written
        if self._remaining:
            return None
        self._step = ChunkedBody._read_end
        return at + num_written

    def _read_end(self, data: bytes, at: int) -> int | None:
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise bad_framing("a chunk is longer than its size")
        if len(end) < 2:
            self._held = end
            return None
        self._step = ChunkedBody._read_size
        return at + 2

    def _read_trailers(self, data: bytes, at: int) -> int | None:
        if data.startswith(b"\r\n", at):
            return ~(at + 2)
        end = data.find(b"\r\n\r\n", at)
        if end < 0 and len(data) - at <= _MAX_TRAILER_BYTES:
            self._held = data[at:]
            return None
        if end < 0 or end - at > _MAX_TRAILER_BYTES:
            raise bad_framing("the trailers are too long")
        if _TRAILERS.fullmatch(data, at, end + 4) is None:
            raise bad_framing("a trailer is malformed")
        return ~(end + 4)


_Step = Callable[[ChunkedBody, bytes, int], int | None]
