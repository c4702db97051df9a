"""Arrays in msgpack of which a part is read."""

from __future__ import annotations

import msgspec
import pytest

from turnwise.engines.vllm.packed import first_integers, length

EVERY_WIDTH = [0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**64 - 1, -1, -32, -33, -129, -32_769, -(2**31) - 1]


def packed(items):
    return msgspec.Raw(msgspec.msgpack.encode(items))


@pytest.mark.parametrize("count", range(len(EVERY_WIDTH) + 2))
def test_the_first_integers_are_those_of_the_whole_array(count):
    assert first_integers(packed(EVERY_WIDTH), count) == EVERY_WIDTH[:count]


@pytest.mark.parametrize("num_items", [0, 15, 16, 65_535, 65_536])
def test_an_array_of_any_length_is_read_by_its_head(num_items):
    array = packed(list(range(num_items)))
    assert length(array) == num_items
    assert first_integers(array, 3) == list(range(num_items))[:3]


def test_what_comes_after_the_first_integers_is_not_looked_at():
    assert first_integers(packed([1, 2, "three"]), 2) == [1, 2]


@pytest.mark.parametrize("items", [["one"], [1, None], [1, [2]], [1, 2.5], ["\u07cf"], [b"\xcf\xcf"], [{}]])
def test_anything_but_integers_among_the_first_is_refused(items):
    with pytest.raises(msgspec.DecodeError):
        first_integers(packed(items), 8)


@pytest.mark.parametrize("value", [None, 1, "tokens", {}, b""])
def test_what_is_no_array_is_refused(value):
    with pytest.raises(msgspec.DecodeError):
        length(packed(value))
    with pytest.raises(msgspec.DecodeError):
        first_integers(packed(value), 1)
