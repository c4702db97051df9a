"""Distributions of run times as sorted times, each with the share of runs that are over by then."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import exp, log
from statistics import NormalDist
from typing import Protocol

SHARES = (0.1, 0.5, 0.9, 0.99)
"""Quantiles that a forecast tells."""

Z_SCORES = tuple(NormalDist().inv_cdf((2 * place + 1) / 30) for place in range(15))
"""Middles of the fifteen equal parts of the standard normal distribution."""


class Curve(Protocol):
    """How long runs take; shares between 0 and 1, times in seconds."""

    def at(self, share: float) -> float:
        """The time after which this share of runs is over."""

    def below(self, seconds: float) -> float:
        """The share of runs that are over by then; 1 only where none was seen to last longer."""

    def around(self, seconds: float) -> tuple[float, float]:
        """Between which shares the place of a run of this length lies: what is over before it, and what with the next one."""


class Ranks:
    """Values of equal weight: the k-th of n lies where k / (n + 1) of runs are over.

    So it does on average for every distribution (Hyndman and Fan 1996, definition 6): the band between two quantiles covers as
    much as it says, also of a short list.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Sequence[float]) -> None:
        """Take `values` as they are, sorted and not empty; they must not change while this is used."""
        self._values = values

    def at(self, share: float) -> float:
        """As `Curve` says; the first or last value where the share lies outside of all."""
        values = self._values
        place = share * (len(values) + 1) - 1
        if place <= 0:
            return values[0]
        whole = int(place)
        if whole >= len(values) - 1:
            return values[-1]
        low = values[whole]
        return low + (values[whole + 1] - low) * (place - whole)

    def below(self, seconds: float) -> float:
        """As `Curve` says."""
        values = self._values
        after = bisect_right(values, seconds)
        if not after:
            return 0.0
        if after == len(values):
            return 1.0
        low, high = values[after - 1], values[after]
        return (after + (seconds - low) / (high - low)) / (len(values) + 1)

    def around(self, seconds: float) -> tuple[float, float]:
        """As `Curve` says."""
        values, total = self._values, len(self._values) + 1
        return bisect_left(values, seconds) / total, (bisect_right(values, seconds) + 1) / total


class Steps:
    """Values of any weight."""

    __slots__ = ("_shares", "_times")

    def __init__(self, times: Sequence[float], shares: Sequence[float]) -> None:
        """Take sorted `times`, not empty, and the share of runs that are over by each, growing."""
        self._times, self._shares = times, shares

    def at(self, share: float) -> float:
        """As `Curve` says; the first or last time where the share lies outside of all."""
        after = bisect_right(self._shares, share)
        if not after:
            return self._times[0]
        if after == len(self._times):
            return self._times[-1]
        low, high = self._shares[after - 1], self._shares[after]
        begin = self._times[after - 1]
        return begin + (self._times[after] - begin) * (share - low) / (high - low)

    def below(self, seconds: float) -> float:
        """As `Curve` says."""
        after = bisect_right(self._times, seconds)
        if not after:
            return 0.0
        if after == len(self._times):
            return 1.0
        low, high = self._times[after - 1], self._times[after]
        begin = self._shares[after - 1]
        return begin + (self._shares[after] - begin) * (seconds - low) / (high - low)

    def around(self, seconds: float) -> tuple[float, float]:
        """As `Curve` says."""
        before, after = bisect_left(self._times, seconds), bisect_right(self._times, seconds)
        return self._shares[before - 1] if before else 0.0, self._shares[after] if after < len(self._shares) else 1.0


def censored(ended: Sequence[float], cut: Sequence[float]) -> Steps:
    """What runs that ended and runs that were cut off tell together; both sorted, not both empty.

    Kaplan and Meier 1958, with one run more at risk throughout, which makes it `Ranks` where nothing was cut off; the longest
    stands for what outlasts all (Efron 1967).
    """
    times: list[float] = [*ended]
    shares: list[float] = []
    lasting = 1.0
    while len(shares) < len(ended):
        # Until the next run was cut off each end takes an equal part of what lasts.
        begin = len(shares)
        gone = bisect_left(cut, ended[begin])
        end = bisect_right(ended, cut[gone], begin) if gone < len(cut) else len(ended)
        part = lasting / (len(ended) + len(cut) + 1 - begin - gone)
        shares += [1 - lasting + part * place for place in range(1, end - begin + 1)]
        lasting -= part * (end - begin)
    if cut and (not times or cut[-1] > times[-1]):
        times.append(cut[-1])
        shares.append(1.0 if not shares else (1 + shares[-1]) / 2)
    return Steps(times, shares)


def mixed(curve: Curve | None, weight: float, center: float, spread: float, guessed: float) -> Steps:
    """A curve of this weight together with a guess of weight `guessed`: lognormal, of natural logarithms."""
    parts = [(exp(center + spread * z), guessed / len(Z_SCORES)) for z in Z_SCORES]
    if curve is not None:
        num = max(1, round(weight))
        parts += [(curve.at((place + 0.5) / num), weight / num) for place in range(num)]
    parts.sort()
    total = weight * (curve is not None) + guessed
    sums = list(accumulate(part[1] for part in parts))
    return Steps([part[0] for part in parts], [(over - part[1] / 2) / total for over, part in zip(sums, parts, strict=True)])


def quantiles(curve: Curve, elapsed_s: float) -> tuple[float, float, float, float]:
    """How long a run that has lasted for `elapsed_s` goes on, in seconds, at `SHARES`.

    Of one that has outlasted all before it nothing is known but that: the longer it has run, the longer it will, in proportion
    (a Pareto tail of index 1, which has no scale of its own).
    """
    if not elapsed_s:
        return (curve.at(SHARES[0]), curve.at(SHARES[1]), curve.at(SHARES[2]), curve.at(SHARES[3]))
    over = curve.below(elapsed_s)
    if over >= 1.0:
        p10, p50, p90, p99 = (elapsed_s * share / (1 - share) for share in SHARES)
    else:
        p10, p50, p90, p99 = (max(0.0, curve.at(over + share * (1 - over)) - elapsed_s) for share in SHARES)
    return p10, p50, p90, p99


def log_spread(curve: Curve) -> float:
    """Standard deviation of the natural logarithm of run times, were they lognormal; at least a hundredth."""
    return max(0.01, log(max(curve.at(0.9), 1e-9) / max(curve.at(0.1), 1e-9)) / 2.563)
