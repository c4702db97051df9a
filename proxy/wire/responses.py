"""Bytes of a replica's connection read as answers.

Most answers are plain: a head in one read, with a length or chunked, and of a chunked body whole chunks in each read. Those are
read here, line by line, and only where every line has but one meaning. All others (ended by the connection, to HEAD, after a
1xx head, with any line that is odd) are left to llhttp from their first byte on, and a chunked body from the first read on that
holds anything else than whole chunks: llhttp is given the head again, and what it reads of that is dropped.
"""

from __future__ import annotations

import re

from turnwise.proxy.wire.answer_parser import AnswerParser, BrokenAnswer, End, Piece
from turnwise.proxy.wire.framing import FIELD_LINE
from turnwise.proxy.wire.headers import connection_options, is_hop_by_hop
from turnwise.proxy.wire.lengths import with_length, without_length
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
_BETWEEN_CHUNKS = -3
"""The head and whole chunks have come."""

_NO_LENGTH = -1
_CLOSES = -2
_CHUNKED = -3
_NO_SIZE = -3
_MAX_SIZE_LINE = 9
"""Bytes of the longest line before a chunk that is read here."""
_LAST_CHUNK = b"0\r\n\r\n"
_REUSABLE, _SPENT = End.REUSABLE, End.SPENT  # to look a member up in its enum takes ten times as long as a name
_Field = tuple[tuple[bytes, bytes] | None, int]
"""The field, None where it ends at this hop, and the length that it gives or what else it says."""

_Head = tuple[ResponseHead, int, bool]
"""The head, the length of the body or `_CHUNKED`, and whether the connection ends with it."""


class _Odd(Exception):
    """A line that is left to llhttp."""


class ResponseReader:
    """Reads one answer at a time; `begin` before each."""

    __slots__ = ("_end", "_is_head_request", "_parser", "_raw_head", "_remaining")

    def __init__(self) -> None:
        self._parser: AnswerParser | None = None
        self._end = End.REUSABLE
        self._raw_head = b""
        """The head of a chunked answer of which llhttp has not heard."""
        self.begin(is_head_request=False)

    def begin(self, *, is_head_request: bool) -> None:
        """Expect the answer to a new request; one to `HEAD` ends at its head."""
        self._is_head_request = is_head_request
        self._remaining = _UNREAD

    @property
    def is_between_chunks(self) -> bool:
        """Whether all that came so far ends with a whole chunk, so that whole chunks need not be fed."""
        return self._remaining == _BETWEEN_CHUNKS or (self._parser is not None and self._parser.is_between_chunks)

    def feed(self, data: bytes) -> Piece:
        """Read on; raises `BrokenAnswer` where the bytes are malformed."""
        remaining, parser = self._remaining, self._parser
        if remaining == _BETWEEN_CHUNKS or (parser is not None and parser.is_between_chunks):
            size, _, rest = data.partition(b"\r\n")
            if len(rest) == _CHUNK_SIZES[size] + 2 and rest.endswith(b"\r\n"):  # nearly every read of a stream is one chunk
                return None, rest[:-2], None
        if remaining == _BETWEEN_CHUNKS:
            return self._read_chunks(None, data)
        if remaining == _LEFT_TO_LLHTTP and parser is not None:
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
                last = _SPENT if closes else _REUSABLE
                body = data[end + 4 :]
                if length == _CHUNKED:
                    self._raw_head = data[: end + 4]
                    self._remaining = _BETWEEN_CHUNKS
                    self._end = last
                    return self._read_chunks(head, body)
                if len(body) == length:
                    self._remaining = 0
                    return head, body, last
                self._remaining = length
                self._end = last
                return self._read_body(head, body)
        return self._leave(data)

    def feed_eof(self) -> bool:
        """Whether the end of the connection is the end of the answer; else it was cut."""
        return self._remaining == _LEFT_TO_LLHTTP and self._parser is not None and self._parser.is_until_close

    def _leave(self, data: bytes) -> Piece:
        """Leave the answer to llhttp from these bytes on, the first that it gets."""
        self._remaining = _LEFT_TO_LLHTTP
        if self._parser is None:
            self._parser = AnswerParser()
        self._parser.begin(is_head_request=self._is_head_request)
        return self._parser.feed(data)

    def _read_chunks(self, head: ResponseHead | None, data: bytes) -> Piece:
        """Read whole chunks, and the end where it comes with them; a read that holds anything else goes to llhttp."""
        parts: list[bytes] = []
        at, has_ended = 0, data.endswith(_LAST_CHUNK)
        stop = len(data) - len(_LAST_CHUNK) if has_ended else len(data)
        while at < stop:
            line_end = data.find(b"\r\n", at, at + _MAX_SIZE_LINE)
            size = _CHUNK_SIZES[data[at:line_end]] if line_end >= 0 else _NO_SIZE
            start = line_end + 2
            end = start + size
            if size == _NO_SIZE or end + 2 > stop or data[end : end + 2] != b"\r\n":
                _, body, last = self._leave(self._raw_head + data)
                return head, body, last
            parts.append(data[start:end])
            at = end + 2
        if has_ended:
            self._remaining = 0
        return head, parts[0] if len(parts) == 1 else b"".join(parts), self._end if has_ended else None

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


def _read_head(raw: bytes) -> _Head:
    """Read a head, of which all but the length is remembered; raises `_Odd`."""
    found = without_length(raw)
    if found is None:
        return _read_lines(raw)
    before, after, length = found
    head, _, closes = _HEADS[before, after]
    return ResponseHead(head.status, head.phrase, head.headers, length), length, closes


def _read_around_length(around: tuple[bytes, bytes]) -> _Head:
    return _read_lines(with_length(around))


def _read_lines(raw: bytes) -> _Head:
    """Read a head line by line; raises `_Odd`."""
    lines = raw.split(b"\r\n")
    status, phrase = _STATUS_LINES[lines[0]]
    headers: list[tuple[bytes, bytes]] = []
    length = _NO_LENGTH
    closes = False
    for line in lines[1:]:
        pair, said = _FIELDS[line]
        if pair is not None:
            headers.append(pair)
        elif said >= 0 or said == _CHUNKED:
            if length != _NO_LENGTH:
                raise _Odd
            length = said
        elif said == _CLOSES:
            closes = True
    if length == _NO_LENGTH:
        raise _Odd
    return ResponseHead(status, phrase, tuple(headers), None if length == _CHUNKED else length), length, closes


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
    if name == b"transfer-encoding" and value == b"chunked":
        return None, _CHUNKED
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
_HEADS = Memo(_read_around_length, max_entries=1024, max_key_bytes=2048)
