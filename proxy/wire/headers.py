"""Header fields that end at each hop, and the fields that we add; one place for requests and answers alike."""

from __future__ import annotations

import time
from email.utils import formatdate

from turnwise.types import Headers

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"content-length"}
)
"""Fields about one connection or its framing; `Proxy-*` and what `Connection` names go with them."""

REQUEST_ONLY = frozenset({b"host", b"expect"})
"""Fields of a request that each hop writes anew or has already obeyed."""

_PERSISTENCE = frozenset({b"close", b"keep-alive"})
_NOTHING: frozenset[bytes] = frozenset()


def connection_options(value: bytes) -> set[bytes]:
    """Lower-case options of one `Connection` value."""
    return {option.strip(b" \t") for option in value.lower().split(b",")}


def end_to_end(headers: Headers, *, also: frozenset[bytes] = _NOTHING) -> Headers:
    """The fields that may be forwarded: without hop-by-hop and framing fields, `Proxy-*` and the lower-case names in `also`."""
    kept: list[tuple[bytes, bytes]] = []
    named: set[bytes] = set()
    for field in headers:
        name = field[0].lower()
        if name == b"connection":
            named |= connection_options(field[1])
        elif name not in HOP_BY_HOP and name not in also and name[:6] != b"proxy-":
            kept.append(field)
    if named and not named <= _PERSISTENCE:
        return tuple(field for field in kept if field[0].lower() not in named)
    return tuple(kept)


def encode(headers: Headers) -> bytes:
    """Header lines of a message; raises `ValueError` where a field would smuggle in a line of its own."""
    lines = b"".join([b"%b: %b\r\n" % field for field in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        raise ValueError("a header field holds a line break")
    return lines


class _DateCache:
    """The `Date` line, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


date_line = _DateCache().line
