"""Which reader a trace is for: as told, else by what the beginning of its first line looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from turnwise.proxy.replay import mooncake, texts, weka
from turnwise.proxy.replay.files import read_lines
from turnwise.proxy.replay.trace import Trace, TraceError

FormatName = Literal["mooncake", "weka", "lmcache", "otel"]

READERS: dict[FormatName, Callable[[Path], Trace]] = {
    "mooncake": mooncake.read,
    "weka": weka.read,
    "lmcache": texts.read_lmcache,
    "otel": texts.read_otel,
}
_MARKS: dict[FormatName, tuple[bytes, ...]] = {
    "mooncake": (b'"hash_ids"', b'"input_length"'),
    "weka": (b'"requests"', b'"system_tokens"'),
    "lmcache": (b'"session_id"', b'"input"', b'"timestamp"'),
    "otel": (b'"spans"',),
}
"""What a line of each format cannot be without. `otel` comes last: it is looked for in the whole file."""


def read_trace(path: Path, name: FormatName | None = None) -> Trace:
    """Read a trace file, or a folder of them; raises `TraceError` where it is broken, empty, or of no format known."""
    trace = READERS[name or _detect(path)](path)
    if not trace.num_calls:
        raise TraceError(str(path), None, "has no calls in it")
    return trace


def _detect(path: Path) -> FormatName:
    if path.is_dir():
        return "otel" if any(path.glob("*.json")) else "lmcache"
    lines = read_lines(path)
    number, first = next(lines, (None, b""))
    for name in ("mooncake", "weka", "lmcache"):
        if all(mark in first for mark in _MARKS[name]):
            return name
    if _MARKS["otel"][0] in first or any(_MARKS["otel"][0] in line for _number, line in lines):
        return "otel"
    raise TraceError(str(path), number, f"is no trace known here ({', '.join(READERS)}); --format names one to read it as")
