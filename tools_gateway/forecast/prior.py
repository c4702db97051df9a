"""What is guessed of a tool that has not run, or not often: what others of its upstream took, then what any did."""

from __future__ import annotations

from math import hypot, inf, log, sqrt

import msgspec

WITHIN = 0.6
"""Standard deviation of a tool's log run time where it is not known: its 90th percentile is 4.7 times its 10th."""

LEAST_BETWEEN = 0.3
"""That of the medians of different tools is never taken for less."""

TENFOLD = log(10.0)

WEIGHED = 2.0
"""How many runs the wider guess counts for beside those of an upstream."""

REMEMBERED = 64.0
"""Runs by which a guess is made; older ones weigh less."""


class Prior(msgspec.Struct, frozen=True, gc=False):
    """Log run times: normal `within` a tool around its own middle, and these middles normal `between` tools around `center`."""

    center: float
    between: float
    within: float = WITHIN

    def after(self, middle: float, num: int) -> tuple[float, float]:
        """Center and spread of the next log run time of a tool that had this median in `num` runs.

        The predictive distribution of the normal model (Gelman et al., Bayesian Data Analysis, 2.5).
        """
        pull = num * self.between**2
        trust = pull / (pull + self.within**2)
        return self.center + trust * (middle - self.center), hypot(self.within, self.between * sqrt(1 - trust))

    def shifted(self, center: float, within: float) -> Prior:
        """Of a tool that was there, scattered so, and has changed."""
        return Prior(center, TENFOLD, within)


ANYTHING = Prior((log(0.01) + log(60.0)) / 2, (log(60.0) - log(0.01)) / sqrt(12))
"""Where nothing is known: any order of magnitude between 10 ms and a minute, the deadline that is set by default."""


class Population:
    """The log run times of many tools, of each its first few, so that none outweighs others by running often."""

    __slots__ = ("num", "squares", "total")

    def __init__(self, num: float = 0.0, total: float = 0.0, squares: float = 0.0) -> None:
        """Raise `ValueError` for sums that no values have."""
        if not (0 <= num < inf and abs(total) < inf and 0 <= squares < inf):
            raise ValueError(f"no values have these sums: {num}, {total}, {squares}")
        self.num, self.total, self.squares = num, total, squares

    @property
    def values(self) -> tuple[float, float, float]:
        """What it can be made from again."""
        return self.num, self.total, self.squares

    def add(self, seconds: float) -> None:
        """Learn from one run."""
        value = log(seconds)
        kept = 1.0 if self.num < REMEMBERED else 1 - 1 / REMEMBERED
        self.num = self.num * kept + 1
        self.total = self.total * kept + value
        self.squares = self.squares * kept + value * value

    def prior(self, wider: Prior) -> Prior:
        """What to guess of a tool among these; `wider` is the guess where none has run."""
        if not self.num:
            return wider
        num = WEIGHED + self.num
        center = (WEIGHED * wider.center + self.total) / num
        far = WEIGHED * (wider.between**2 + wider.within**2 + (wider.center - center) ** 2)
        variance = (far + self.squares - 2 * center * self.total + self.num * center**2) / num
        return Prior(center, sqrt(max(variance - WITHIN**2, LEAST_BETWEEN**2)))
