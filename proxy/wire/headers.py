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


def encode_forwarded(headers: Headers, edits: Mapping[bytes, bytes], drops: tuple[bytes, ...] = ()) -> bytes:
    """Header lines of a request as the replica gets them: `headers`, edited, end to end; see `Outgoing`.

    Raises `ValueError` where a field would smuggle in a line of its own.
    """
    known = _FORWARDED_BLOCKS[headers, tuple(edits), drops]
    if known is None:  # hardly ever: a field ends here because another field says so
        return encode(end_to_end(Outgoing("", "", headers, edits, b"", drops=drops).fields(), also=REQUEST_ONLY))
    block, form = known
    return block + _filled(form, edits)


def encode_answer(headers: Headers, edits: Mapping[bytes, bytes]) -> tuple[bytes, bool]:
    """Header lines of an answer as the client gets them: `headers`, edited; and whether a `Date` is among them.

    Raises `ValueError` where a field would smuggle in a line of its own.
    """
    block, form, has_date = _ANSWER_BLOCKS[headers, tuple(edits)]
    return block + _filled(form, edits), has_date


def _form(edits: tuple[bytes, ...]) -> bytes:
    """Lines of fields of these names, with a place for each value."""
    return b"".join([b"%b: %%b\r\n" % name.replace(b"%", b"%%") for name in edits])


def _filled(form: bytes, edits: Mapping[bytes, bytes]) -> bytes:
    """The lines of `edits`, of which `form` is the form; they are not remembered, for they hardly ever come again."""
    lines = form % tuple(edits.values())
    if lines.count(b"\n") != len(edits) or lines.count(b"\r") != len(edits):
        raise ValueError(_BREAK)
    return lines


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


def _forwarded_block(fields: tuple[Headers, tuple[bytes, ...], tuple[bytes, ...]]) -> tuple[bytes, bytes] | None:
    """The lines of a request that are forwarded but for those edited and dropped, and the form of those edited.

    None where a field says which others end here, or an edit is one that ends here.
    """
    headers, edited, dropped = fields
    lines: list[bytes] = []
    for pair in headers:
        name, line = _FORWARDED[pair]
        if line is None:
            return None
        if name not in edited and name not in dropped:
            lines.append(line)
    return (b"".join(lines), _form(edited)) if all(map(_is_forwarded, edited)) else None


def _answer_block(fields: tuple[Headers, tuple[bytes, ...]]) -> tuple[bytes, bytes, bool]:
    """The lines of an answer but for those edited, the form of those, and whether a `Date` is among all of them."""
    headers, edited = fields
    kept = tuple([pair for pair in headers if pair[0].lower() not in edited])
    has_date = b"date" in edited or any(name.lower() == b"date" for name, _ in kept)
    return encode(kept), _form(edited), has_date


def _header_bytes(fields: tuple[Headers, *tuple[tuple[bytes, ...], ...]]) -> int:
    return sum(len(name) + len(value) for name, value in fields[0])


_LINES = Memo(_line)
_FORWARDED = Memo(_forwarded)
_FORWARDED_BLOCKS = Memo(_forwarded_block, size=_header_bytes, max_entries=1024, max_key_bytes=2048)
_ANSWER_BLOCKS = Memo(_answer_block, size=_header_bytes, max_entries=1024, max_key_bytes=2048)


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
