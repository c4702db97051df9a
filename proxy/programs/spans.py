"""Ids of traces and spans, made of what is known anyway, so that nobody has to remember them (decision 8)."""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b

from xxhash import xxh3_64_digest

from turnwise.types import CallId

_NONE = bytes(8)


class Part(IntEnum):
    """Which span of a call; those of attempts are `ATTEMPT` plus the attempt's number."""

    CHAT = 1
    QUEUE = 2
    ROUTE = 3
    PREFILL = 4
    DECODE = 5
    GAP = 6
    ATTEMPT = 16


def span_id(call_id: CallId, part: int) -> bytes:
    """The 8 bytes that name one span of a call; never all zero."""
    made = xxh3_64_digest(call_id.encode(), seed=part)
    return made if made != _NONE else b"\1" * 8


def attempt_span(call_id: CallId, number: int) -> bytes:
    """The span of one attempt, which the engine is given as its parent."""
    return span_id(call_id, Part.ATTEMPT + number)


def tool_span(caller: CallId, tool_call_id: str) -> bytes:
    """The span of one tool run."""
    made = xxh3_64_digest(f"{caller}/{tool_call_id}".encode(), seed=64)
    return made if made != _NONE else b"\1" * 8


def trace_id(tenant: str, name: str, epoch: int) -> bytes:
    """The 16 bytes that name the trace of a program whose client has none."""
    return blake2b(_seed(b"program", tenant, name, epoch), digest_size=16).digest()


def root_span(tenant: str, name: str, epoch: int) -> bytes:
    """The 8 bytes that name the root of a program's trace."""
    return blake2b(_seed(b"root", tenant, name, epoch), digest_size=8).digest()


def _seed(what: bytes, tenant: str, name: str, epoch: int) -> bytes:
    """All of it, each part with its length before it, so that none can stand in for another's end."""
    owner, own, number = tenant.encode(), name.encode(), b"%d" % epoch
    sizes = (len(what), what, len(owner), owner, len(own), own, len(number), number)
    return b"8:turnwise%d:%b%d:%b%d:%b%d:%b" % sizes
