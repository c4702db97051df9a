"""Histograms, and lines of Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate

BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560)
"""Upper bounds of the buckets, seconds."""


class Histogram:
    """Counts of durations by bucket."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def samples(self, name: str, labels: Mapping[str, str]) -> list[str]:
        """Lines of the text format."""
        totals = list(accumulate(self._counts))
        lines = [
            sample(f"{name}_bucket", {**labels, "le": str(bound)}, total)
            for bound, total in zip((*map(float, BOUNDS_S), "+Inf"), totals, strict=True)
        ]
        return [*lines, sample(f"{name}_sum", labels, self._sum_s), sample(f"{name}_count", labels, totals[-1])]


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """One line of the text format."""
    shown = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{shown}}} {float(value)}"


def family(name: str, kind: str, lines: list[str]) -> list[str]:
    """A metric's type line and its samples."""
    return [f"# TYPE {name} {kind}", *lines]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
