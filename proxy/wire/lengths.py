"""Heads that differ in the digits of their Content-Length alone: what one of them means is known of all."""

from __future__ import annotations

_MARK = b"ength: "
_BEGINNINGS = (b"\r\nContent-L", b"\r\ncontent-l")
_MAX_DIGITS = 18


def without_length(head: bytes) -> tuple[bytes, bytes, int] | None:
    """What stands before the digits of a head's Content-Length, what stands behind them, and the length that they give.

    None where the field is missing, or not spelled as most spell it: such a head is to be read by itself. The first two are
    the same just for heads that differ in these digits alone, of which any but those of one number have the same reading.
    """
    before, _, rest = head.partition(_MARK)
    if not before.endswith(_BEGINNINGS):
        return None
    digits, _, _ = rest.partition(b"\r\n")
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    return before, rest[len(digits) :], int(digits)


def with_length(around: tuple[bytes, bytes]) -> bytes:
    """A head with nothing for its length, of what `without_length` left of it."""
    return b"ength: 0".join(around)
