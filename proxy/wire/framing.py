"""Where a request begins and ends: the strict reading of a head.

Two parties that disagree about framing can be made to disagree about requests. So each line of a head passes two readings that
know nothing of each other, a grammar and llhttp, and whatever leaves room for a second meaning is refused. Lines repeat from
request to request, so both readings are done once for each line that is not remembered. Most clients send one head again and
again, but for the length of the body; what its lines mean together is remembered too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import httptools
import msgspec

from turnwise.errors import ClientFault, Reason
from turnwise.proxy.wire.headers import connection_options
from turnwise.proxy.wire.lengths import with_length, without_length
from turnwise.proxy.wire.memo import Memo
from turnwise.types import Headers

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
FIELD_LINE = _TOKEN + rb"++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n"
_FIELD = re.compile(FIELD_LINE)
_FIRST_LINE = re.compile(rb"(" + _TOKEN + rb"++) (/[\x21\x22\x24-\x7e]*+) HTTP/1\.([01])")
_REQUEST_LINE = re.compile(rb"(\S+) (\S+) HTTP/([0-9.]+)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_PLAIN_LENGTH = re.compile(rb"([Cc]ontent-[Ll]ength): ([0-9]{1,18})")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+;=:%\[\]]*")
_STARTS = re.compile(_TOKEN)


class RequestHead(msgspec.Struct, frozen=True):
    """A head whose framing has one meaning."""

    method: str
    target: str
    """In origin form: path and query."""
    headers: Headers
    """As they came, but for Content-Length."""
    fields: Mapping[bytes, bytes]
    """The first value of each of these, by lower-case name."""
    is_http11: bool
    keeps_alive: bool
    """Whether the client lets the connection live after the answer."""
    length: int | None
    """Bytes of body; None where it is chunked."""
    expects_continue: bool


# What a field says about framing and the connection; plain numbers, for enum members take three times as long to compare.
_NOTHING = 0
_LENGTH_FIELD = 1
_HOST_FIELD = 2
_CHUNKED_FIELD = 3
_CONNECTION_FIELD = 4
_EXPECT_FIELD = 5

_NO_OPTIONS: frozenset[bytes] = frozenset()
_Field = tuple[tuple[bytes, bytes], bytes, int, int, frozenset[bytes]]
"""What a line means: the field as it came, its lower-case name, its role, and the length or the options that it gives."""


class _NotInGrammar(Exception):
    """A line that does not fit; why is told of the whole head."""


class _Seen:
    """What llhttp finds in one head."""

    __slots__ = ("headers", "is_complete")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def bad_framing(message: str) -> ClientFault:
    """The fault of a request whose bytes cannot be read in exactly one way."""
    return ClientFault(message, reason=Reason.BAD_FRAMING)


def check_partial_head(data: bytes, *, seen: int) -> None:
    """Refuse an incomplete head that no further byte can mend; the first `seen` bytes were checked before."""
    if seen == 0 and _STARTS.match(data) is None:
        raise bad_framing("this is not an HTTP/1.1 request: it does not begin with a method (TLS ends in front of this port)")
    if _BARE_LF.search(data, max(0, seen - 1)) is not None:
        raise bad_framing("a line of the head ends in LF without CR")


def read_head(raw: bytes) -> RequestHead:
    """Read a whole head, without the blank line that ends it; raises `ClientFault` naming what is wrong."""
    found = without_length(raw)
    if found is None:
        return _read_lines(raw)
    before, after, length = found
    head = _HEADS[before, after]
    return RequestHead(
        head.method,
        head.target,
        head.headers,
        head.fields,
        head.is_http11,
        head.keeps_alive,
        length,
        head.expects_continue,
    )


def _read_lines(raw: bytes) -> RequestHead:
    """Read a head line by line."""
    lines = raw.split(b"\r\n")
    try:
        method, target, is_http11 = _FIRST_LINES[lines.pop(0)]
        found = [*map(_FIELDS.__getitem__, lines)]
    except _NotInGrammar:
        raise _explain(raw) from None
    headers: list[tuple[bytes, bytes]] = []
    fields: dict[bytes, bytes] = {}
    length: int | None = None
    is_chunked = False
    num_hosts = 0
    options = _NO_OPTIONS
    expects_continue = False
    for pair, name, role, number, named in found:
        if role == _LENGTH_FIELD:
            if length is not None:
                raise bad_framing("Content-Length is given more than once")
            length = number
            continue
        headers.append(pair)
        if name not in fields:
            fields[name] = pair[1]
        if role == _NOTHING:
            continue
        if role == _HOST_FIELD:
            num_hosts += 1
        elif role == _CHUNKED_FIELD:
            if is_chunked:
                raise bad_framing("Transfer-Encoding is given more than once")
            is_chunked = True
        elif role == _CONNECTION_FIELD:
            options |= named
        else:
            expects_continue = is_http11
    if is_chunked and length is not None:
        raise bad_framing("both Content-Length and Transfer-Encoding are given")
    if is_chunked and not is_http11:
        raise bad_framing("HTTP/1.0 has no Transfer-Encoding")
    if num_hosts != 1 and (num_hosts or is_http11):
        raise bad_framing("HTTP/1.1 needs exactly one Host field")
    # By position: by name, as many arguments take four times as long.
    return RequestHead(
        method,
        target,
        tuple(headers),
        fields,
        is_http11,
        b"close" not in options if is_http11 else b"keep-alive" in options and b"close" not in options,
        None if is_chunked else length or 0,
        expects_continue,
    )


def _read_first_line(line: bytes) -> tuple[str, str, bool]:
    """Method, target and whether it is HTTP/1.1."""
    match = _FIRST_LINE.fullmatch(line)
    if match is None:
        raise _NotInGrammar
    method, target, minor = match.groups()
    if method == b"CONNECT":
        raise bad_framing("CONNECT is not served here")
    _read_by_llhttp(line + b"\r\n\r\n", method)
    return method.decode(), target.decode(), minor == b"1"


def _read_field(line: bytes) -> _Field:
    """What one header line means, whatever the others say."""
    match = _PLAIN_LENGTH.fullmatch(line)
    if match is not None:  # nearly the only line that differs from call to call; digits have one reading
        return (match[1], match[2]), b"content-length", _LENGTH_FIELD, int(match[2]), _NO_OPTIONS
    raw = line + b"\r\n"
    if _FIELD.fullmatch(raw) is None:
        raise _NotInGrammar
    (pair,) = _read_by_llhttp(b"GET / HTTP/1.1\r\n%b\r\n" % raw, b"GET")
    name = pair[0].lower()
    value = pair[1].strip(b" \t")
    role, number, options = _NOTHING, 0, _NO_OPTIONS
    if name == b"host":
        role = _HOST_FIELD
        if _HOST.fullmatch(value) is None:
            raise bad_framing("Host is not a host and port")
    elif name == b"content-length":
        role = _LENGTH_FIELD
        if _LENGTH.fullmatch(value) is None:
            raise bad_framing("Content-Length is not a plain number")
        number = int(value)
    elif name == b"transfer-encoding":
        role = _CHUNKED_FIELD
        if value.lower() != b"chunked":
            raise bad_framing("Transfer-Encoding is not exactly `chunked`")
    elif name == b"connection":
        role, options = _CONNECTION_FIELD, frozenset(connection_options(value))
    elif name == b"upgrade":
        raise _upgrade()
    elif name == b"expect":
        role = _EXPECT_FIELD
        if value.lower() != b"100-continue":
            raise ClientFault("the only expectation that can be met is 100-continue", status=417)
    return pair, name, role, number, options


def _read_by_llhttp(raw: bytes, method: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a head as llhttp reads them."""
    seen = _Seen()
    try:
        httptools.HttpRequestParser(seen).feed_data(raw)
    except httptools.HttpParserUpgrade:
        raise _upgrade() from None
    except httptools.HttpParserInvalidMethodError:
        raise bad_framing(f"unknown method {method.decode()}") from None
    except httptools.HttpParserError as error:
        raise bad_framing(f"malformed head: {error}") from None
    if not seen.is_complete:
        raise bad_framing("malformed head")
    return seen.headers


def _read_around_length(around: tuple[bytes, bytes]) -> RequestHead:
    return _read_lines(with_length(around))


_FIRST_LINES = Memo(_read_first_line)
_FIELDS = Memo(_read_field)
_HEADS = Memo(_read_around_length, max_entries=1024, max_key_bytes=2048)


def _upgrade() -> ClientFault:
    return ClientFault("no protocol to upgrade to is spoken here; use plain HTTP/1.1", reason=Reason.UPGRADE, status=501)


def _explain(raw: bytes) -> ClientFault:
    """The fault of a head that does not fit the grammar, named as exactly as it can be."""
    if _BARE_LF.search(raw) is not None:
        return bad_framing("a line of the head ends in LF without CR")
    if _BARE_CR.search(raw) is not None:
        return bad_framing("the head holds a CR that ends no line")
    request_line, *lines = raw.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(request_line)
    if match is None:
        return bad_framing("the request line is not `METHOD /path HTTP/1.1`")
    version = match[3].decode()
    if version not in {"1.0", "1.1"}:
        return ClientFault(f"HTTP/{version} is not spoken here; use HTTP/1.1", reason=Reason.HTTP_VERSION, status=505)
    for line in lines:
        name, colon, _ = line.partition(b":")
        if line[:1] in {b" ", b"\t"}:
            return bad_framing("a header field is folded over two lines")
        if line and not colon:
            return bad_framing("a header line has no colon")
        if name != name.rstrip(b" \t"):
            return bad_framing("a header name is followed by a space")
        if line and re.fullmatch(FIELD_LINE, line + b"\r\n") is None:
            return bad_framing("a header field holds a character that is not allowed")
    return bad_framing("the request target is not a path: it must begin with / and hold visible ASCII only, without #")
