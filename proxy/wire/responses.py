"""Bytes of a replica's connection read as answers.

Most answers are plain: a head in one read, with a length. Those are read here, line by line, and only where every line has but
one meaning. All others (chunked, ended by the connection, to HEAD, after a 1xx head, with any line that is odd) are left to
llhttp from their first byte on.
"""

from __future__ import annotations

import re

from turnwise.proxy.wire.answer_parser import AnswerParser, BrokenAnswer, End, Piece
from turnwise.proxy.wire.framing import FIELD_LINE
from turnwise.proxy.wire.headers import connection_options, is_hop_by_hop
from turnwise.proxy.wire.memo import Memo
from turnwise.proxy.wire.ports import ResponseHead

__all__ = ["BrokenAnswer", "End", "Piece", "ResponseReader"]

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*+)")
_FIELD = re.compile(FIELD_LINE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,7}")
_BODILESS = frozenset({204, 304})

_UNREAD = -1
"""No byte of the answer has come."""
_LEFT_TO_LLHTTP = -2

_NO_LENGTH = -1
_CLOSES = -2
_NO_SIZE = -3
_Field = tuple[tuple[bytes, bytes] | None, int]
"""The field, None where it ends at this hop, and the length that it gives or what else it says."""


class _Odd(Exception):
    """A line that is left to llhttp."""


class ResponseReader:
    """Reads one answer at a time; `begin` before each."""

    __slots__ = ("_end", "_is_head_request", "_parser", "_remaining")

    def __init__(self) -> None:
        self._parser: AnswerParser | None = None
        self._end = End.REUSABLE
        self.begin(is_head_request=False)

    def begin(self, *, is_head_request: bool) -> None:
        """Expect the answer to a new request; one to `HEAD` ends at its head."""
        self._is_head_request = is_head_request
        self._remaining = _UNREAD

    def feed(self, data: bytes) -> Piece:
        """Read on; raises `BrokenAnswer` where the bytes are malformed."""
        remaining = self._remaining
        if remaining == _LEFT_TO_LLHTTP:
            parser = self._parser
            assert parser is not None
            if parser.is_between_chunks:  # nearly every read of a stream is one whole chunk
                size, _, rest = data.partition(b"\r\n")
                if len(rest) == _CHUNK_SIZES[size] + 2 and rest.endswith(b"\r\n"):
                    return None, rest[:-2], None
            return parser.feed(data)
        if remaining >= 0:
            return self._read_body(None, data)
        end = data.find(b"\r\n\r\n")
        if end >= 0 and not self._is_head_request:
            try:
                head, length, closes = _read_head(data[:end])
            except _Odd:
                pass
            else:
                last = End.SPENT if closes else End.REUSABLE
                body = data[end + 4 :]
                if len(body) == length:
                    self._remaining = 0
                    return head, body, last
                self._remaining = length
                self._end = last
                return self._read_body(head, body)
        self._remaining = _LEFT_TO_LLHTTP
        if self._parser is None:
            self._parser = AnswerParser()
        self._parser.begin(is_head_request=self._is_head_request)
        return self._parser.feed(data)

    def feed_eof(self) -> bool:
        """Whether the end of the connection is the end of the answer; else it was cut."""
        return self._remaining == _LEFT_TO_LLHTTP and self._parser is not None and self._parser.is_until_close

    def _read_body(self, head: ResponseHead | None, data: bytes) -> Piece:
        remaining = self._remaining - len(data)
        if remaining > 0:
            self._remaining = remaining
            return head, data, None
        if remaining < 0:
            data = data[:remaining]
            self._end = End.SPENT  # nobody asked for what follows
        self._remaining = 0
        return head, data, self._end


def _read_head(raw: bytes) -> tuple[ResponseHead, int, bool]:
    """The head, the length of the body, and whether the connection ends with it; raises `_Odd`."""
    lines = raw.split(b"\r\n")
    status, phrase = _STATUS_LINES[lines[0]]
    headers: list[tuple[bytes, bytes]] = []
    length = _NO_LENGTH
    closes = False
    for line in lines[1:]:
        pair, said = _FIELDS[line]
        if pair is not None:
            headers.append(pair)
        elif said >= 0:
            if length >= 0:
                raise _Odd
            length = said
        elif said == _CLOSES:
            closes = True
    if length < 0:
        raise _Odd
    return ResponseHead(status, phrase, tuple(headers), length), length, closes


def _read_status_line(line: bytes) -> tuple[int, bytes]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None or (status := int(match[1])) in _BODILESS:
        raise _Odd
    return status, match[2]


def _read_field(line: bytes) -> _Field:
    """What one header line means, whatever the others say."""
    if _FIELD.fullmatch(line + b"\r\n") is None:
        raise _Odd
    raw_name, _, value = line.partition(b":")
    pair = (raw_name, value.lstrip(b" \t"))
    name, value = raw_name.lower(), value.strip(b" \t")
    if name == b"content-length":
        if _LENGTH.fullmatch(value) is None:
            raise _Odd
        return None, int(value)
    if name == b"connection":
        options = connection_options(value)
        if not options <= {b"close", b"keep-alive"}:
            raise _Odd
        return None, _CLOSES if b"close" in options else _NO_LENGTH
    if name in {b"transfer-encoding", b"upgrade"}:
        raise _Odd
    return None if is_hop_by_hop(name) else pair, _NO_LENGTH


def _read_chunk_size(line: bytes) -> int:
    """Size of a chunk; one that no bytes have where it is the last chunk or the line is not a size alone."""
    size = int(line, 16) if _CHUNK_SIZE.fullmatch(line) is not None else 0
    return size or _NO_SIZE


_STATUS_LINES = Memo(_read_status_line)
_FIELDS = Memo(_read_field)
_CHUNK_SIZES = Memo(_read_chunk_size)
