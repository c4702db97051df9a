"""What programs are called and do, in words."""

from __future__ import annotations

from datetime import datetime

from turnwise.admin.words import age, clean
from turnwise.proxy.programs.values import Outcome, Summary

STATE_STYLES = {"running": "green", "in tools": "magenta", "quiet": "cyan", "answered": "dim", "ended": "dim"}
"""Styles of what `state` says; of any other word it is yellow."""

ENDS = {
    Outcome.ASKED: "ended",
    Outcome.ANSWERED: "answered",
    Outcome.AGE: "timed out",
    Outcome.EVICTED: "evicted",
    Outcome.SHUTDOWN: "cut off",
}


def title(program: Summary) -> str:
    """What a program is called where something calls it: the client's name, its session, its id."""
    return clean(program.name or program.session or program.id)


def state(program: Summary) -> str:
    """What a program is doing, or how it ended."""
    if program.outcome is not Outcome.OPEN:
        return ENDS[program.outcome]
    if program.running:
        return "running"
    return "in tools" if program.waiting else "quiet"


def tokens(number: int) -> str:
    """Tokens, short: 812, 14.2k, 3.1M."""
    if number < 1000:
        return str(number)
    if number < 99_950:
        return f"{number / 1000:.1f}k"
    return f"{number / 1000:.0f}k" if number < 999_500 else f"{number / 1_000_000:.1f}M"


def began(program: Summary) -> str:
    """When a program began, on the clock of whoever looks, and how long ago."""
    return f"{datetime.fromtimestamp(program.started_at).astimezone():%Y-%m-%d %H:%M:%S}, {age(program.age_s)} ago"
