"""Who goes first, and who need not begin: pure functions of what is expected."""

from __future__ import annotations

from turnwise.tools_gateway.values import Forecast

MIN_SAMPLES = 5.0
"""Runs, decayed, below which a forecast keeps nobody from running."""


def rank(entered_at: float, expected_s: float) -> float:
    """Place in the queue, smaller first: the shortest expected run, and a second of waiting makes up for a second of it.

    What waits and what comes later age alike, so the place never changes while waiting. A call is overtaken only by those that
    came within `expected_s` after it: nobody starves.
    """
    return entered_at + expected_s


def is_hopeless(forecast: Forecast, remaining_s: float) -> bool:
    """Whether what is left of a deadline is less than the quickest tenth of runs took.

    Asked only of calls that had to wait. One that has its whole deadline before it is always tried, or a tool that has become
    quicker would never be found out; but a slot given to a run that nobody can get is taken from those behind it, and a write
    that is cut off half-way is worse than one that has not begun.
    """
    return forecast.num_samples >= MIN_SAMPLES and forecast.p10_s > remaining_s
