"""Header fields that end at each hop, and the fields that we add; one place for requests and answers alike."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate

from turnwise.proxy.wire.memo import Memo
from turnwise.proxy.wire.ports import Outgoing
from turnwise.types import Headers

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"content-length"}
)
"""Fields about one connection or its framing; `Proxy-*` and what `Connection` names go with them."""

REQUEST_ONLY = frozenset({b"host", b"expect"})
"""Fields of a request that each hop writes anew or has already obeyed."""

_PERSISTENCE = frozenset({b"close", b"keep-alive"})
_NOTHING: frozenset[bytes] = frozenset()
_BREAK = "a header field holds a line break"


def connection_options(value: bytes) -> set[bytes]:
    """Lower-case options of one `Connection` value."""
    return {option.strip(b" \t") for option in value.lower().split(b",")}


def is_hop_by_hop(name: bytes) -> bool:
    """Whether a field of that lower-case name ends at this hop."""
    return name in HOP_BY_HOP or name[:6] == b"proxy-"


def end_to_end(headers: Headers, *, also: frozenset[bytes] = _NOTHING) -> Headers:
    """The fields that may be forwarded: without hop-by-hop and framing fields, `Proxy-*` and the lower-case names in `also`."""
    kept: list[tuple[bytes, bytes]] = []
    named: set[bytes] = set()
    for field in headers:
        name = field[0].lower()
        if name == b"connection":
            named |= connection_options(field[1])
        elif not is_hop_by_hop(name) and name not in also:
            kept.append(field)
    if named and not named <= _PERSISTENCE:
        return tuple(field for field in kept if field[0].lower() not in named)
    return tuple(kept)


def encode(headers: Headers) -> bytes:
    """Header lines of a message; raises `ValueError` where a field would smuggle in a line of its own."""
    return b"".join(map(_LINES.__getitem__, headers))


def encode_forwarded(headers: Headers, edits: Mapping[bytes, bytes | None]) -> bytes:
    """Header lines of a request as the replica gets them: `headers` with `edits` applied, end to end; see `Outgoing`.

    Raises `ValueError` where a field would smuggle in a line of its own.
    """
    lines: list[bytes] = []
    names_others = b"connection" in edits
    for pair in headers:
        name, line = _FORWARDED[pair]
        if line is None:
            names_others = True
        elif name not in edits:
            lines.append(line)
    if names_others:  # hardly ever: a field ends here because another field says so
        return encode(end_to_end(Outgoing("", "", headers, edits, b"").fields(), also=REQUEST_ONLY))
    for name, value in edits.items():
        if value is not None and _IS_FORWARDED[name]:
            line = b"%b: %b\r\n" % (name, value)  # not remembered: it hardly ever comes again
            if line.count(b"\n") != 1 or line.count(b"\r") != 1:
                raise ValueError(_BREAK)
            lines.append(line)
    return b"".join(lines)


def _line(pair: tuple[bytes, bytes]) -> bytes:
    line = b"%b: %b\r\n" % pair
    if line.count(b"\n") != 1 or line.count(b"\r") != 1:
        raise ValueError(_BREAK)
    return line


def _forwarded(pair: tuple[bytes, bytes]) -> tuple[bytes, bytes | None]:
    """Lower-case name of a request's field and its line, empty where it ends here; None where it says which others do."""
    line = _line(pair)
    name = pair[0].lower()
    if name == b"connection" and not connection_options(pair[1]) <= _PERSISTENCE:
        return name, None
    return name, line if _is_forwarded(name) else b""


def _is_forwarded(name: bytes) -> bool:
    return name not in REQUEST_ONLY and not is_hop_by_hop(name)


_LINES = Memo(_line)
_FORWARDED = Memo(_forwarded)
_IS_FORWARDED = Memo(_is_forwarded)


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
