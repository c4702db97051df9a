"""Figures as people read them, and names as terminals may be given them."""

from __future__ import annotations

from datetime import datetime

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


def clean(text: str) -> str:
    """A name that somebody else chose, without what a terminal would obey."""
    return (
        text
        if text.isprintable()
        else "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    )


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


def span(seconds: float) -> str:
    """Seconds: 3.2 ms, 214 ms, 1.92 s, 4 min 10 s."""
    milliseconds = seconds * 1000
    if milliseconds < 0.05:
        return "0 ms"
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s" if seconds < 60 else age(seconds)


def age(seconds: float) -> str:
    """How long something has been: 4 s, 12 min, 3 h 5 min."""
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes = int(seconds // 60)
    if minutes < 10:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def tokens(number: int) -> str:
    """Tokens, short: 812, 14.2k, 3.1M."""
    if number < 1000:
        return str(number)
    if number < 99_950:
        return f"{number / 1000:.1f}k"
    return f"{number / 1000:.0f}k" if number < 999_500 else f"{number / 1_000_000:.1f}M"


def plural(number: int, noun: str) -> str:
    """So many of something: 1 call, 2 calls."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def began(program: Summary) -> str:
    """When a program began, on the clock of whoever looks, and how long ago."""
    return f"{datetime.fromtimestamp(program.started_at).astimezone():%Y-%m-%d %H:%M:%S}, {age(program.age_s)} ago"


def share(part: float, whole: float) -> str:
    """A part in percent."""
    return f"{100 * part / whole:.0f}%" if whole > 0 else "-"
