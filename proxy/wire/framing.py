"""Where a request begins and ends: the strict reading of a head.

Two parties that disagree about framing can be made to disagree about requests. So a head passes two readings that know
nothing of each other, one grammar for the whole of it and llhttp for its parts, and whatever leaves room for a second
meaning is refused.
"""

from __future__ import annotations

import re

import httptools
import msgspec

from turnwise.errors import ClientFault, Reason
from turnwise.proxy.wire.headers import connection_options
from turnwise.types import Headers

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
FIELD_LINE = _TOKEN + rb"++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n"
_HEAD = re.compile(rb"(" + _TOKEN + rb"++) (/[\x21\x22\x24-\x7e]*+) HTTP/1\.([01])\r\n(?:" + FIELD_LINE + rb")*+\r\n")
_REQUEST_LINE = re.compile(rb"(\S+) (\S+) HTTP/([0-9.]+)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+;=:%\[\]]*")
_STARTS = re.compile(_TOKEN)


class RequestHead(msgspec.Struct, frozen=True):
    """A head whose framing has one meaning."""

    method: str
    target: str
    """In origin form: path and query."""
    headers: Headers
    is_http11: bool
    keeps_alive: bool
    """Whether the client lets the connection live after the answer."""
    length: int | None
    """Bytes of body; None where it is chunked."""
    expects_continue: bool


class _Fields:
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
    """Read a whole head, its blank line included; raises `ClientFault` naming what is wrong."""
    match = _HEAD.fullmatch(raw)
    if match is None:
        raise _explain(raw)
    method, target, minor = match.groups()
    if method == b"CONNECT":
        raise bad_framing("CONNECT is not served here")
    fields = _Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(raw)
    except httptools.HttpParserUpgrade:
        raise _upgrade() from None
    except httptools.HttpParserInvalidMethodError:
        raise bad_framing(f"unknown method {method.decode()}") from None
    except httptools.HttpParserError as error:
        raise bad_framing(f"malformed head: {error}") from None
    if not fields.is_complete:
        raise bad_framing("malformed head")
    return _judge(method.decode(), target.decode(), tuple(fields.headers), is_http11=minor == b"1")


def _judge(method: str, target: str, headers: Headers, *, is_http11: bool) -> RequestHead:
    """What the fields say about framing and the connection."""
    length: int | None = None
    is_chunked = False
    num_hosts = 0
    options: set[bytes] = set()
    expects_continue = False
    for field_name, value in headers:
        name = field_name.lower()
        if name == b"host":
            num_hosts += 1
            if _HOST.fullmatch(value.strip(b" \t")) is None:
                raise bad_framing("Host is not a host and port")
        elif name == b"content-length":
            if length is not None:
                raise bad_framing("Content-Length is given more than once")
            if _LENGTH.fullmatch(value.strip(b" \t")) is None:
                raise bad_framing("Content-Length is not a plain number")
            length = int(value)
        elif name == b"transfer-encoding":
            if is_chunked:
                raise bad_framing("Transfer-Encoding is given more than once")
            if value.strip(b" \t").lower() != b"chunked":
                raise bad_framing("Transfer-Encoding is not exactly `chunked`")
            is_chunked = True
        elif name == b"connection":
            options |= connection_options(value)
        elif name == b"upgrade":
            raise _upgrade()
        elif name == b"expect":
            if value.strip(b" \t").lower() != b"100-continue":
                raise ClientFault("the only expectation that can be met is 100-continue", status=417)
            expects_continue = True
    if is_chunked and length is not None:
        raise bad_framing("both Content-Length and Transfer-Encoding are given")
    if is_chunked and not is_http11:
        raise bad_framing("HTTP/1.0 has no Transfer-Encoding")
    if num_hosts > 1 or (is_http11 and num_hosts == 0):
        raise bad_framing("HTTP/1.1 needs exactly one Host field")
    return RequestHead(
        method=method,
        target=target,
        headers=headers,
        is_http11=is_http11,
        keeps_alive=b"close" not in options if is_http11 else b"keep-alive" in options and b"close" not in options,
        length=None if is_chunked else length or 0,
        expects_continue=expects_continue and is_http11,
    )


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
