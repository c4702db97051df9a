"""How long a replica takes to compute as many tokens as its cache holds: about as long as a block lives there unused."""

from __future__ import annotations

import math
from collections import deque

NUM_MARKS = 16
"""Into how many parts a cacheful is cut: when one began is known to a part of it."""


class Turnover:
    """When the last cacheful of one replica began, from the tokens that calls had computed there."""

    __slots__ = ("_marks", "_num_tokens", "since")

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._num_tokens = 0
        self.since = -math.inf
        """When the last cacheful began; minus infinity where there was none yet, so that nothing had to be evicted."""

    def add(self, tokens: int, now: float, capacity_tokens: int) -> None:
        """Count `tokens` that are computed from `now` on, into a cache of `capacity_tokens`."""
        marks, before = self._marks, self._num_tokens
        if not marks or before - marks[-1][1] >= capacity_tokens / NUM_MARKS:
            marks.append((now, before))
        self._num_tokens += tokens
        begin = self._num_tokens - capacity_tokens
        if begin >= 0:
            while len(marks) > 1 and marks[1][1] <= begin:
                marks.popleft()
            self.since = marks[0][0]

    def clear(self) -> None:
        """The cache is empty."""
        self._marks.clear()
        self._num_tokens = 0
        self.since = -math.inf
