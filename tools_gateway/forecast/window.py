"""The newest run times of one kind of call, as many as are still like each other."""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Sequence
from math import inf, log
from statistics import NormalDist

import msgspec

from turnwise.tools_gateway.forecast.curve import Curve, Ranks, censored, log_spread, mixed
from turnwise.tools_gateway.forecast.prior import Prior

KEPT = 200
"""Values of a window: the 99th percentile rests on two of them. 3 KB."""

ENOUGH = 24
"""Values that need no guess beside them."""

GUESSED = 8.0
"""What the guess weighs beside no value at all; with each value it weighs less."""

WATCHED = 12
"""Values before which nothing can be told of a change."""

SLACK, ALARM = 0.5, 9.0
"""Page's test: what a score may differ from 0 unnoticed, and the sum that tells of a change. Of ten kinds of tools, those that
do not change alarmed once in 30,000 runs; a change by a factor of ten was found after 5 to 12 runs at the median."""

SHORTEST_S = 1e-6

_NORMAL = NormalDist()
_LEAST_SHARE = 1 / (2 * KEPT + 2)


class Shift(msgspec.Struct, frozen=True, gc=False):
    """What remains of the values before a change: not where they lay, but how far they scattered."""

    center: float
    spread: float


class Window:
    """The newest values, cut where they change.

    An adaptive window (Bifet and Gavalda 2007) by a test of ranks: each value's place among those before it is a score that is
    standard normal for as long as nothing changes, whatever the distribution. Two cumulative sums (Page 1954) add what is above
    and below; where one passes `ALARM`, what came before that sum last was 0 is forgotten.
    """

    __slots__ = ("_curve", "_cut", "_down", "_ended", "_newest", "_num_down", "_num_up", "_up", "shift")

    def __init__(self) -> None:
        self._newest = array("d")
        """In the order in which they came; what was cut off is negative."""
        self._ended = array("d")
        self._cut = array("d")
        self._up = self._down = 0.0
        self._num_up = self._num_down = 0
        """Values since that sum was last 0."""
        self._curve: Curve | None = None
        self.shift: Shift | None = None

    def __len__(self) -> int:
        return len(self._newest)

    @property
    def values(self) -> bytes:
        """All of them as `restored` takes them."""
        return array("f", self._newest).tobytes()

    @classmethod
    def restored(cls, values: bytes) -> Window:
        """A window with these; raises `ValueError` where they are no run times."""
        window = cls()
        for value in array("f", values)[-KEPT:]:
            if not SHORTEST_S / 2 < abs(value) < inf:
                raise ValueError(f"no run takes {value} s")
            window._take(value)
        return window

    def add(self, seconds: float, *, is_cut: bool) -> None:
        """Learn from a run that took so long, or was cut off after as long as that."""
        seconds = max(seconds, SHORTEST_S)
        has_changed = len(self._newest) >= WATCHED and self._watch(seconds, is_cut=is_cut)
        self._take(-seconds if is_cut else seconds)
        if has_changed:
            self._forget()

    def curve(self, prior: Prior) -> Curve:
        """How long runs take by these values, and by `prior` where they are few; good until the next value."""
        num = len(self._newest)
        if num >= ENOUGH:
            return self._own()
        if self.shift is not None:
            prior = prior.shifted(self.shift.center, self.shift.spread)
        if not num:
            return mixed(None, 0, *prior.after(0.0, 0), 1.0)
        return mixed(self._own(), num, *prior.after(self.middle(), num), GUESSED * (1 - num / ENOUGH))

    def middle(self) -> float:
        """Natural logarithm of the median; there must be a value."""
        return log(self._own().at(0.5))

    def _own(self) -> Curve:
        if self._curve is None:
            self._curve = censored(self._ended, self._cut) if self._cut else Ranks(self._ended)
        return self._curve

    def _take(self, value: float) -> None:
        self._curve = None
        self._newest.append(value)
        insort(self._ended if value > 0 else self._cut, abs(value))
        if len(self._newest) > KEPT:
            oldest = self._newest.pop(0)
            held = self._ended if oldest > 0 else self._cut
            del held[bisect_left(held, abs(oldest))]

    def _watch(self, seconds: float, *, is_cut: bool) -> bool:
        """Add a value's score to the sums; says whether they tell of a change."""
        low, high = self._own().around(seconds)
        share = (low + (1.0 if is_cut else high)) / 2
        score = _NORMAL.inv_cdf(min(max(share, _LEAST_SHARE), 1 - _LEAST_SHARE))
        self._up = max(0.0, self._up + score - SLACK)
        self._down = max(0.0, self._down - score - SLACK)
        self._num_up = self._num_up + 1 if self._up else 0
        self._num_down = self._num_down + 1 if self._down else 0
        return max(self._up, self._down) > ALARM

    def _forget(self) -> None:
        """Keep the values since the likeliest moment of the change, after the sum that alarmed was 0 last."""
        first = len(self._newest) - (self._num_up if self._up > self._down else self._num_down)
        old = Ranks(sorted(map(abs, self._newest[:first])))
        self.shift = Shift(log(old.at(0.5)), log_spread(old))
        self._newest = newest = self._newest[_changed(self._newest, first, self.shift.center) :]
        self._ended = array("d", sorted(value for value in newest if value > 0))
        self._cut = array("d", sorted(-value for value in newest if value < 0))
        self._up = self._down = 0.0
        self._num_up = self._num_down = 0
        self._curve = None


def _changed(values: Sequence[float], first: int, center: float) -> int:
    """The place, from `first` on, where log values likeliest left `center` for another one: the largest likelihood ratio."""
    best, far, place = -1.0, 0.0, first
    for at in range(len(values) - 1, first - 1, -1):
        far += log(abs(values[at])) - center
        ratio = far * far / (len(values) - at)
        if ratio > best:
            best, place = ratio, at
    return place
