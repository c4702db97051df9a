"""How many tokens some bytes of a prompt will be, where no engine has counted them yet."""

from __future__ import annotations

from collections.abc import Sequence

_KEPT_PER_CALL = 0.95
"""Weight left to what was known before each call: the estimate follows the last twenty calls or so."""


class BytesPerToken:
    """Running bytes per token of one model, weighted by prompt length; starts from a setting."""

    def __init__(self, start: float) -> None:
        self.value = start
        self._bytes = 0.0
        self._tokens = 0.0

    def learn(self, num_bytes: int, num_tokens: int) -> None:
        """Take in one call as the engine counted it."""
        if num_bytes <= 0 or num_tokens <= 0:
            return
        self._bytes = self._bytes * _KEPT_PER_CALL + num_bytes
        self._tokens = self._tokens * _KEPT_PER_CALL + num_tokens
        self.value = self._bytes / self._tokens


def tokens_along(ends: Sequence[int], anchors: Sequence[tuple[int, int]], bytes_per_token: float) -> list[int]:
    """Tokens up to each boundary of a prompt: exact at the anchors, by share of bytes between them, by rate after the last.

    `ends[i]` is the bytes up to boundary i; an anchor is (boundary, tokens), in ascending order of both.
    """
    tokens: list[int] = []
    from_bytes = from_tokens = 0
    for boundary, exact in anchors:
        span = ends[boundary] - from_bytes
        share = (exact - from_tokens) / span if span else 0.0
        tokens.extend(from_tokens + int((end - from_bytes) * share) for end in ends[len(tokens) : boundary])
        tokens.append(exact)
        from_bytes, from_tokens = ends[boundary], exact
    tokens.extend(from_tokens + int((end - from_bytes) / bytes_per_token) for end in ends[len(tokens) :])
    return tokens
