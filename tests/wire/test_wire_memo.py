"""What is remembered of lines: bounded, and only what was accepted."""

import pytest

from turnwise.proxy.wire.memo import MAX_ENTRIES, MAX_KEY_BYTES, Memo


class Made:
    def __init__(self):
        self.keys = []

    def __call__(self, key):
        self.keys.append(key)
        if key == b"bad":
            raise ValueError("refused")
        return len(self.keys)


def test_a_result_is_made_once_and_a_refusal_every_time():
    made = Made()
    memo = Memo(made)
    assert [memo[b"a"], memo[b"b"], memo[b"a"]] == [1, 2, 1]
    for _ in range(2):
        with pytest.raises(ValueError, match="refused"):
            memo[b"bad"]
    assert made.keys == [b"a", b"b", b"bad", b"bad"]


def test_long_lines_and_long_pairs_are_not_kept():
    memo = Memo(Made())
    for key in (b"x" * (MAX_KEY_BYTES + 1), (b"n" * MAX_KEY_BYTES, b"v")):
        assert memo[key] < memo[key]
    assert len(memo) == 0


def test_lines_that_never_repeat_cannot_make_it_grow():
    memo = Memo(Made())
    for number in range(3 * MAX_ENTRIES):
        memo[b"%d" % number]
    assert 0 < len(memo) <= MAX_ENTRIES
