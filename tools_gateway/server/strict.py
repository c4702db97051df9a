"""JSON of a request, read so that no two readers can read it differently."""

from __future__ import annotations

import json
import math
from typing import Any


class Ambiguous(ValueError):
    """It can be read in more than one way, or not by everybody; the message says what it holds."""


def read(body: bytes, max_depth: int) -> Any:
    """Parse JSON in UTF-8; raises `ValueError` for what is none.

    Raises `Ambiguous`, one of them, for a member given twice, a number that is none, half a character, or too much depth.
    """
    try:
        value = _DECODER.decode(body.decode())
    except RecursionError:
        raise Ambiguous(f"nesting deeper than {max_depth}") from None
    # A half of a character can only have come as an escape, and depth needs as many brackets.
    if b"\\ud" in body or b"\\uD" in body:
        _check_characters(value)
    if body.count(b"{") + body.count(b"[") > max_depth and _is_deeper(value, max_depth):
        raise Ambiguous(f"nesting deeper than {max_depth}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Ambiguous(f"the member {twice!r} twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Ambiguous(f"the number {text[:40]}, which is too large")
    return number


def _refuse(text: str) -> float:
    raise Ambiguous(f"{text}, which is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_refuse)


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Ambiguous("half a character") from None


def _is_deeper(value: Any, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return any(isinstance(node, dict | list) for node in level)
