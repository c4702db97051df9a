"""Ids of traces and spans, made of what is known anyway, so that nobody has to remember them (decision 8)."""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b

from xxhash import xxh3_64_digest, xxh3_128_digest

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


_ATTEMPT = int(Part.ATTEMPT)  # every call asks: an attribute of an enumeration takes as long as the digest


def span_id(call_id: CallId, part: int) -> bytes:
    """The 8 bytes that name one span of a call; never all zero."""
    made = xxh3_64_digest(call_id.encode(), seed=part)
    return made if made != _NONE else b"\1" * 8


def attempt_span(call_id: CallId, number: int) -> bytes:
    """The span of one attempt, which the engine is given as its parent."""
    made = xxh3_64_digest(call_id.encode(), seed=_ATTEMPT + number)
    return made if made != _NONE else b"\1" * 8


def tool_span(caller: CallId, tool_call_id: str) -> bytes:
    """The span of one tool run."""
    made = xxh3_64_digest(f"{caller}/{tool_call_id}".encode(), seed=64)
    return made if made != _NONE else b"\1" * 8


def own_ids(call_id: CallId, again: int = 0) -> tuple[bytes, bytes]:
    """The same as `program_ids` of a program that nobody named: of its first call, for no other proxy has to make them."""
    seed, number = call_id.encode(), 128 + again
    root = xxh3_64_digest(seed, number)
    return root if root != _NONE else b"\1" * 8, xxh3_128_digest(seed, number)


def program_ids(tenant: str, name: str, epoch: int) -> tuple[bytes, bytes]:
    """The 8 bytes that name the root of a program's trace, and the 16 that name the trace where its client has none.

    They are digests of all that names a program, each part with its length before it, so that none can stand in for another's
    end.
    """
    owner, own, number = tenant.encode(), name.encode(), b"%d" % epoch
    parts = b"%d:%b%d:%b%d:%b" % (len(owner), owner, len(own), own, len(number), number)
    root = blake2b(b"8:turnwise4:root" + parts, digest_size=8)
    return root.digest(), blake2b(b"8:turnwise7:program" + parts, digest_size=16).digest()
