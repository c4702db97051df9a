"""Tool calls whose arguments close at given moments of an answer: the engine writes a token a step, so their length is time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from turnwise.engines.sim.cost import PRESETS
from turnwise.engines.sim.script import call_text
from turnwise.engines.sim.tokens import pieces

PRESET = "tiny"
SPEED = 0.2
"""Slow enough that a step is long beside what the machine adds to it, and fast enough that calls differ by many tokens."""

CONTEXT = 600
"""Tokens before and in such an answer, about; each adds 10 ns to a step."""

_WORD = "word"


def step_s() -> float:
    """How long the engine takes for a token of one answer."""
    cost = PRESETS[PRESET].cost
    return (cost.step_s + cost.decode_s(CONTEXT)) / SPEED


def schemas(closes_at: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """A schema for each tool, called in this order, that fits just one value: so long that it closes then, in seconds."""
    made: dict[str, dict[str, Any]] = {}
    before = 0
    for place, (name, moment) in enumerate(closes_at.items()):
        words = max(1, round(moment / step_s()) - before - _to_close(place, name, 0))
        note = " ".join([_WORD] * words)
        before += _tokens(place, name, note)
        made[name] = {"type": "object", "properties": {"note": {"type": "string", "const": note}}, "required": ["note"]}
    return made


def _to_close(place: int, name: str, words: int) -> int:
    head, body, _ = _parts(place, name, " ".join([_WORD] * words))
    return len(pieces(head + body))


def _tokens(place: int, name: str, note: str) -> int:
    return len(pieces("".join(_parts(place, name, note))))


def _parts(place: int, name: str, note: str) -> tuple[str, str, str]:
    head, body, tail = call_text(name, msgspec.json.encode({"note": note}).decode())
    return ("\n" if place else "") + head, body, tail
