"""How well the runtime table predicts: against an oracle that knows how run times are drawn, and beside a plain window.

Tools of twelve kinds are called in random order. Before each run the table tells four quantiles; then it learns how long the
run took. A tool is judged from its 51st run on; then it becomes ten times slower, or faster, and is judged from the 51st run on
after that.
"""

from __future__ import annotations

import random
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from math import exp, log
from statistics import NormalDist, mean, median
from typing import Protocol

import msgspec
from bench.knowledge.row import Row, at_most
from bench.tools import Options

from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.values import Fate, ToolKey, UpstreamName

SHARES = (0.1, 0.5, 0.9, 0.99)
SEEDS = 20
WARM_UP, STEADY, AFTER = 50, 300, 100
"""Runs of each tool: not judged at first and after a change, judged before it, and after it."""

LEAST_COVERED, MOST_COVERED, MOST_LOSS = 0.75, 0.85, 1.15
SMALL, LARGE = 100, 100_000
"""Bytes of arguments."""

LEAST_SHARE = 1e-9
"""A normal distribution has no value at 0."""

_NORMAL = NormalDist()

Quantiles = tuple[float, float, float, float]


class Kind(msgspec.Struct, frozen=True):
    """How a tool's run times are drawn: the quantile function of each size of arguments."""

    name: str
    small: Callable[[float], float]
    large: Callable[[float], float]


def lognormal(center: float, sigma: float) -> Callable[[float], float]:
    """Around `center` seconds."""
    return lambda share: center * exp(sigma * _NORMAL.inv_cdf(share))


def either(first: float, low: Callable[[float], float], high: Callable[[float], float]) -> Callable[[float], float]:
    """One of two that do not overlap: `low` with this probability."""
    return lambda share: low(share / first) if share < first else high(max(LEAST_SHARE, (share - first) / (1 - first)))


def _kind(name: str, quantile: Callable[[float], float]) -> Kind:
    return Kind(name, quantile, quantile)


KINDS = (
    _kind("steady", lognormal(1.0, 0.02)),
    _kind("narrow", lognormal(0.05, 0.2)),
    _kind("usual", lognormal(0.2, 0.5)),
    _kind("wide", lognormal(2.0, 1.0)),
    _kind("very wide", lognormal(0.5, 1.5)),
    _kind("uniform", lambda share: 0.5 + share),
    _kind("exponential", lambda share: -0.3 * log(1 - share)),
    _kind("waits at least", lambda share: 0.1 - 0.05 * log(1 - share)),
    _kind("heavy tail", lambda share: 0.1 * (1 - share) ** (-1 / 1.5)),
    _kind("cache of others", either(0.6, lognormal(0.005, 0.2), lognormal(2.0, 0.4))),
    _kind("rarely slow", either(0.95, lognormal(0.03, 0.3), lognormal(5.0, 0.4))),
    Kind("by size", lognormal(0.1, 0.4), lognormal(3.0, 0.4)),
)


class Predictor(Protocol):
    """What is judged."""

    def tell(self, tool: int, num_bytes: int) -> Quantiles:
        """How long a run will take."""

    def learn(self, tool: int, num_bytes: int, seconds: float) -> None:
        """How long it took."""


class Table:
    """The runtime table."""

    def __init__(self) -> None:
        self._table = RunTable()
        self._keys = [ToolKey(UpstreamName("bench"), kind.name) for kind in KINDS]

    def tell(self, tool: int, num_bytes: int) -> Quantiles:
        """As `Predictor` says."""
        told = self._table.forecast(self._keys[tool], num_bytes)
        return told.p10_s, told.p50_s, told.p90_s, told.p99_s

    def learn(self, tool: int, num_bytes: int, seconds: float) -> None:
        """As `Predictor` says."""
        self._table.observe(self._keys[tool], num_bytes, seconds, Fate.SUCCESS, 0.0)


class PlainWindow:
    """The yardstick: the last 200 runs of each tool, sorted, whatever their arguments and whatever has changed."""

    KEPT = 200

    def __init__(self) -> None:
        self._newest: list[deque[float]] = [deque() for _ in KINDS]
        self._sorted: list[list[float]] = [[] for _ in KINDS]

    def tell(self, tool: int, num_bytes: int) -> Quantiles:
        """As `Predictor` says; the values at these ranks."""
        del num_bytes
        values = self._sorted[tool] or [1.0]
        p10, p50, p90, p99 = (values[min(len(values) - 1, int(share * len(values)))] for share in SHARES)
        return p10, p50, p90, p99

    def learn(self, tool: int, num_bytes: int, seconds: float) -> None:
        """As `Predictor` says."""
        del num_bytes
        newest, values = self._newest[tool], self._sorted[tool]
        newest.append(seconds)
        insort(values, seconds)
        if len(newest) > self.KEPT:
            del values[bisect_left(values, newest.popleft())]


class Judged(msgspec.Struct, frozen=True):
    """One run of the bench, the mean of its tools."""

    covered: float
    """Share of runs between the 10th and the 90th percentile that were told."""
    loss: float
    """Pinball loss, as a multiple of the oracle's."""
    worst_loss: float
    """That of the worst tool."""


class _Score:
    """One tool."""

    def __init__(self) -> None:
        self.num = self.num_within = 0
        self.loss = self.oracle = 0.0

    def add(self, told: Quantiles, truth: Sequence[float], seconds: float) -> None:
        self.num += 1
        self.num_within += told[0] <= seconds <= told[2]
        self.loss += sum(pinball(each, share, seconds) for each, share in zip(told, SHARES, strict=True))
        self.oracle += sum(pinball(each, share, seconds) for each, share in zip(truth, SHARES, strict=True))


def pinball(told: float, share: float, seconds: float) -> float:
    """What a quantile costs when the value comes; the true one costs least on average (Koenker and Bassett 1978)."""
    return (seconds - told) * share if seconds > told else (told - seconds) * (1 - share)


def judge(predictor: Predictor, seed: int, factor: float) -> tuple[Judged, Judged]:
    """How well it does while nothing changes, and after every tool's run times were multiplied by `factor`."""
    chance = random.Random(seed)
    runs = [0] * len(KINDS)
    before, after = [_Score() for _ in KINDS], [_Score() for _ in KINDS]
    changes_at, ends_at = WARM_UP + STEADY, 2 * WARM_UP + STEADY + AFTER
    order = [tool for tool in range(len(KINDS)) for _ in range(ends_at)]
    chance.shuffle(order)
    for tool in order:
        kind, run = KINDS[tool], runs[tool]
        runs[tool] += 1
        is_small = chance.random() < 0.5
        num_bytes, quantile = (SMALL, kind.small) if is_small else (LARGE, kind.large)
        scale = 1.0 if run < changes_at else factor
        seconds = scale * quantile(chance.uniform(LEAST_SHARE, 1 - LEAST_SHARE))
        told = predictor.tell(tool, num_bytes)
        if WARM_UP <= run < changes_at or run >= changes_at + WARM_UP:
            truth = [scale * quantile(share) for share in SHARES]
            (before if run < changes_at else after)[tool].add(told, truth, seconds)
        predictor.learn(tool, num_bytes, seconds)
    return _judged(before), _judged(after)


def _judged(scores: Sequence[_Score]) -> Judged:
    losses = [score.loss / score.oracle for score in scores]
    return Judged(mean(score.num_within / score.num for score in scores), mean(losses), max(losses))


def _cpu_us() -> tuple[float, float]:
    """Microseconds of CPU to learn and to tell, the least of five times."""
    table, chance = Table(), random.Random(1)
    values = [chance.lognormvariate(0, 1) for _ in range(4000)]
    times: list[tuple[float, float]] = []
    for _ in range(5):
        began = time.process_time()
        for value in values:
            table.learn(0, SMALL, value)
        between = time.process_time()
        for _value in values:
            table.tell(0, SMALL)
        times.append((between - began, time.process_time() - between))
    learned, told = (min(each) / len(values) * 1e6 for each in zip(*times, strict=True))
    return learned, told


def rows(options: Options) -> list[Row]:
    """The three bars, each by its worst seed; figures of the plain window stand beside."""
    seeds = range(options.seed, options.seed + SEEDS)
    ours = {factor: [judge(Table(), seed, factor) for seed in seeds] for factor in (10.0, 0.1)}
    plain = {factor: [judge(PlainWindow(), seed, factor) for seed in seeds] for factor in (10.0, 0.1)}
    steady = [before for before, _ in ours[10.0]]
    changed = [after for results in ours.values() for _, after in results]
    plain_changed = [after for results in plain.values() for _, after in results]
    learn_us, tell_us = _cpu_us()
    how = f"{len(KINDS)} kinds of tools, {SEEDS} seeds, the worst of them."
    return [
        _covered(
            "prediction covers",
            "runs within the predicted band",
            steady,
            {
                "plain window, median": median(before.covered for before, _ in plain[10.0]),
                "us of CPU to learn a run": learn_us,
                "us to tell": tell_us,
            },
            f"Nothing changes; {STEADY} runs of each tool. {how}",
        ),
        _lost(
            "prediction loss",
            "pinball loss of predictions",
            steady,
            [before for before, _ in plain[10.0]],
            f"Nothing changes; the mean of four quantiles. {how}",
        ),
        _covered(
            "prediction covers again",
            f"runs within the band, {WARM_UP} runs after a tenfold change",
            changed,
            {"plain window, median": median(each.covered for each in plain_changed)},
            f"Slower and faster; {AFTER} runs of each tool. {how}",
        ),
        _lost(
            "prediction loss again",
            f"pinball loss, {WARM_UP} runs after a tenfold change",
            changed,
            plain_changed,
            f"Slower and faster; the mean of four quantiles. {how}",
        ),
    ]


def _covered(name: str, title: str, judged: Sequence[Judged], figures: dict[str, float], how: str) -> Row:
    least, most = min(each.covered for each in judged), max(each.covered for each in judged)
    holds = least >= LEAST_COVERED and most <= MOST_COVERED
    bar = f"{LEAST_COVERED:.0%} to {MOST_COVERED:.0%}"
    figures = {"median": median(each.covered for each in judged)} | figures
    return Row(name, title, bar, f"{least:.1%} to {most:.1%}", holds, figures, how)


def _lost(name: str, title: str, judged: Sequence[Judged], plain: Sequence[Judged], how: str) -> Row:
    figures = {
        "median": median(each.loss for each in judged),
        "worst tool, median": median(each.worst_loss for each in judged),
        "plain window, median": median(each.loss for each in plain),
    }
    return at_most(name, title, max(each.loss for each in judged), MOST_LOSS, "x an oracle's", figures, how)
