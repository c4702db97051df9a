"""One row: what was measured, against what in the same run, and the bar that must hold."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One measure with its bar; `figures` are what it was made of, by name with their unit."""

    name: str
    title: str
    bar: str
    measured: str
    holds: bool
    figures: Mapping[str, float]
    how: str
    """What was done, in a sentence or two."""


def at_most(name: str, title: str, ratio: float, bound: float, unit: str, figures: Mapping[str, float], how: str) -> Row:
    """A row whose ratio must not be above `bound`."""
    return Row(name, title, f"at most {bound:g} {unit}", f"{ratio:.2f}", ratio <= bound, figures, how)


def at_least(name: str, title: str, ratio: float, bound: float, unit: str, figures: Mapping[str, float], how: str) -> Row:
    """A row whose ratio must not be below `bound`."""
    return Row(name, title, f"at least {bound:g} {unit}", f"{ratio:.2f}", ratio >= bound, figures, how)


def over_neighbours(value: float, before: float, after: float) -> float:
    """What was sampled over the geometric mean of what was sampled right before and after it, as a machine's pace drifts."""
    return value / math.sqrt(before * after)
