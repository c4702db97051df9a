"""How soon a session may be dialled again; pure."""

from __future__ import annotations

from collections import deque
from random import Random

FIRST_S, MAX_S = 0.25, 1.0
"""After the second loss in a row, and at most: with a dial that fails within 2 s, a return is noticed within 3 s."""

STABLE_S = 2.0
"""A connection that stood this long is dialled at once when it is lost: what happened before has nothing to do with it."""

BUDGET, WINDOW_S = 12, 60.0
"""Programs started in a minute: one that dies as it starts would otherwise take a core for itself."""

SPENT_S = 2.0
"""Between starts past the budget, however long a program stood; of the 5 s in which one is to be back, 3 s are left to it."""


class Pace:
    """Backoff with jitter, and the budget of starts; `budget` is None where a dial costs nothing."""

    def __init__(self, budget: int | None = BUDGET) -> None:
        self._budget = budget
        self._begun: deque[float] = deque(maxlen=budget)
        self._num_losses = 0
        self.num_dials = 0

    def begin(self, now: float) -> None:
        """A dial begins."""
        self.num_dials += 1
        if self._budget is not None:
            self._begun.append(now)

    def lost(self, stood_s: float) -> None:
        """A connection was lost that stood for so long; 0 where it never did."""
        self._num_losses = 1 if stood_s >= STABLE_S else self._num_losses + 1

    def is_spent(self, now: float) -> bool:
        """Whether the budget is used up."""
        return self._budget is not None and len(self._begun) == self._budget and now - self._begun[0] < WINDOW_S

    def pause(self, now: float, rng: Random) -> float:
        """Seconds until the next dial."""
        if self.is_spent(now):
            return SPENT_S
        if self._num_losses <= 1:
            return 0.0
        longest: float = min(MAX_S, FIRST_S * 2 ** min(self._num_losses - 2, 10))
        return longest * (1 + rng.random()) / 2
