"""How many tokens some bytes of a prompt will be, where no engine has counted them yet."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

_KEPT_PER_CALL = 0.95
"""Weight left to what was known before each call: the estimate follows the last twenty calls or so."""


class BytesPerToken:
    """Running bytes per token of one model, weighted by prompt length; starts from a setting."""

    __slots__ = ("_bytes", "_tokens", "value")

    def __init__(self, start: float) -> None:
        self.value = start
        self._bytes = 0.0
        self._tokens = 0.0

    @property
    def state(self) -> tuple[float, float, float]:
        """All of it, to be written down."""
        return (self.value, self._bytes, self._tokens)

    def restore(self, state: tuple[float, float, float]) -> None:
        """Go on from what was written down."""
        self.value, self._bytes, self._tokens = state

    def learn(self, num_bytes: int, num_tokens: int) -> None:
        """Take in one call as the engine counted it."""
        if num_bytes <= 0 or num_tokens <= 0:
            return
        self._bytes = self._bytes * _KEPT_PER_CALL + num_bytes
        self._tokens = self._tokens * _KEPT_PER_CALL + num_tokens
        self.value = self._bytes / self._tokens


def tokens_between(left: int, right: int, left_bytes: int, right_bytes: int, at_bytes: int) -> int:
    """Tokens up to a point between two points whose tokens are known, by share of bytes; all count from the prompt's start."""
    span = right_bytes - left_bytes
    return left + (right - left) * (at_bytes - left_bytes) // span if span else left


def tokens_at(ends: Sequence[int], anchors: Sequence[tuple[int, int]], bytes_per_token: float, boundary: int) -> int:
    """Tokens up to one boundary of a prompt: exact at the anchors, by share of bytes between them, by rate after the last.

    `ends[i]` is the bytes up to boundary i; an anchor is (boundary, tokens), in ascending order of both.
    """
    position = bisect_left(anchors, (boundary,))
    left_at, left = anchors[position - 1] if position else (-1, 0)
    left_bytes = ends[left_at] if position else 0
    if position == len(anchors):
        return left + int((ends[boundary] - left_bytes) / bytes_per_token)
    right_at, right = anchors[position]
    return right if right_at == boundary else tokens_between(left, right, left_bytes, ends[right_at], ends[boundary])
