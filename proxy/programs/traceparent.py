"""W3C trace context: the client's span, and names in its baggage; strict, for what is malformed may be anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import msgspec

MAX_BAGGAGE_BYTES = 8192
"""Longest baggage that W3C asks anybody to pass on."""

SAMPLED = 0x01
"""A flag among others: some clients send `03`, sampled with a random trace id."""

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


class ClientSpan(msgspec.Struct, frozen=True, gc=False):
    """The span of the client within which a call was made."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool


def parse(value: bytes) -> ClientSpan | None:
    """Read a `traceparent`; None where it is malformed. Later versions may say more behind what is known."""
    found = _FORM.fullmatch(value)
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5] is not None):
        return None
    trace_id, span_id = bytes.fromhex(found[2].decode()), bytes.fromhex(found[3].decode())
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return ClientSpan(trace_id, span_id, bool(int(found[4], 16) & SAMPLED))


def members(baggage: bytes) -> Iterator[tuple[bytes, bytes] | None]:
    """Keys and percent-decoded values of a `baggage` header, in its order; their properties are left out.

    None for what is no member, having no key or no value; nothing between two commas is nothing, as in any list of HTTP.
    """
    for member in baggage.split(b","):
        key, separator, value = member.partition(b";")[0].partition(b"=")
        name = key.strip()
        if separator and name:
            yield name, unquote_to_bytes(value.strip())
        elif not member.isspace() and member:
            yield None
