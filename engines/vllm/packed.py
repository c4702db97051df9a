"""Arrays in msgpack of which no more is decoded than is asked for; pure."""

from __future__ import annotations

import msgspec

_INTEGER_BYTES = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
"""Bytes of an integer by the first of them; a first byte that is not listed is a small integer by itself, or none."""

_decode_integers = msgspec.msgpack.Decoder(list[int]).decode


def length(array: msgspec.Raw) -> int:
    """Items of an array, by its head; raises `msgspec.DecodeError` where it is none."""
    return _head(bytes(memoryview(array)[:5]))[0]


def first_integers(array: msgspec.Raw, count: int) -> list[int]:
    """The first `count` items of an array of integers, or all where it has fewer; those after them are not looked at.

    To decode the thousands of tokens that an event names takes 70 us. Raises `msgspec.DecodeError` where it is no array, or
    has something else among the first.
    """
    data = bytes(memoryview(array)[: 5 + 9 * count])
    num_items, start = _head(data)
    count = min(count, num_items)
    end = start
    try:
        for _ in range(count):
            end += _INTEGER_BYTES.get(data[end], 1)
    except IndexError as error:
        raise msgspec.DecodeError("an array that is not one of integers") from error
    return _decode_integers(b"\xdd" + count.to_bytes(4, "big") + data[start:end])


def _head(data: bytes) -> tuple[int, int]:
    """How many items an array has, and where the first begins."""
    if data[0] & 0xF0 == 0x90:
        return data[0] & 0x0F, 1
    if data[0] == 0xDC:
        return int.from_bytes(data[1:3], "big"), 3
    if data[0] == 0xDD:
        return int.from_bytes(data[1:5], "big"), 5
    raise msgspec.DecodeError("no array, where tokens were expected")
