"""Figures as people read them, and names as terminals may be given them."""

from __future__ import annotations


def clean(text: str) -> str:
    """A name that somebody else chose, without what a terminal would obey."""
    return (
        text
        if text.isprintable()
        else "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    )


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


def plural(number: int, noun: str) -> str:
    """So many of something: 1 call, 2 calls."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def share(part: float, whole: float) -> str:
    """A part in percent."""
    return f"{100 * part / whole:.0f}%" if whole > 0 else "-"
