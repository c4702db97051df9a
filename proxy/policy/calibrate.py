"""What a finished call teaches about a replica's speed."""

from __future__ import annotations

import math

MIN_SAMPLE_TOKENS = 256
"""Shorter prefills measure the step overhead and the network, not the speed."""

GAIN = 0.2
"""Weight of a new sample: a change of load shows after about five calls."""

MAX_STEP = 4.0
"""A sample counts as at most this many times more or less than what is believed, so that no outlier turns a fleet over."""


def learned_rate(rate: float, *, work_tokens: float, first_token_s: float) -> float | None:
    """Tokens a second after one more call whose first token came `first_token_s` after it was booked.

    `work_tokens` are the uncached tokens that had to be computed by then: the call's own and those booked ahead of it.
    None where that is too little to tell.
    """
    if work_tokens < MIN_SAMPLE_TOKENS or first_token_s <= 0:
        return None
    sample = min(max(work_tokens / first_token_s, rate / MAX_STEP), rate * MAX_STEP)
    return rate + GAIN * (sample - rate)


def decayed(value: float, elapsed_s: float, half_life_s: float) -> float:
    """What is left of `value` after `elapsed_s`."""
    return value * math.exp2(-elapsed_s / half_life_s)
