"""The canonical form of what an assistant turn says: equal for a stream, a whole answer, and a client's copy of either.

Every client writes an answer down in its own way: other key order, spaces and escapes, text as a string or as parts, tool
arguments as a JSON text or as an object. What is hashed is what all of these have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from turnwise.types import Answer

MAX_SAID_BYTES = 256 * 1024
"""Longest turn of which anybody asks what it says, some 60,000 tokens: reading one takes half a millisecond."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding garbage raises."""

MAX_EXACT = 2**53
"""Integers up to this size are exact as floats."""


def answer(text: str, calls: Sequence[tuple[str, str | bytes]], reasoning: str) -> Answer | None:
    """What a turn of this text, these calls (name and arguments as a JSON text) and this reasoning says; None for nothing.

    White space around a text is not part of what it says: parsers of reasoning leave line breaks there, which clients drop.
    """
    text, reasoning = text.strip(), reasoning.strip()
    if not (text or calls or reasoning):
        return None
    return Answer(
        _hash(text.encode()) if text else 0,
        _hash(b"".join(map(_call, calls))) if calls else 0,
        _hash(reasoning.encode()) if reasoning else 0,
    )


def _hash(said: bytes) -> int:
    return xxh3_64_intdigest(said) or 1  # 0 is for nothing said


def _call(call: tuple[str, str | bytes]) -> bytes:
    name, arguments = call[0].encode(), _canonical(call[1])
    return b"%d:%b%d:%b" % (len(name), name, len(arguments), arguments)


def _canonical(arguments: str | bytes) -> bytes:
    """Arguments compactly encoded, their keys in the order in which they came; as they are where they are no JSON.

    None at all are an empty object, as APIs that have arguments as objects write them.
    """
    try:
        return msgspec.json.encode(_ARGUMENTS.decode(arguments)) if arguments else b"{}"
    except UNREADABLE:
        return arguments if isinstance(arguments, bytes) else arguments.encode()


def _number(literal: str) -> float | str:
    """A number as all languages would write it: some have no integers, and write `1.0` as `1`."""
    value = float(literal)
    if value.is_integer() and abs(value) <= MAX_EXACT:
        return int(value)
    return value if abs(value) <= _LARGEST else literal


_LARGEST = 1.7976931348623157e308
_ARGUMENTS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=_number)
