"""JSON read so that no two readers can read it differently: no member twice, no number that is none, no half of a character."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from turnwise.tools_gateway.invisible import made_visible

_SURROGATE = re.compile("[\ud800-\udfff]")


class NotStrict(ValueError):
    """It is not JSON, or can be read in more than one way; the message names the member, and is a sentence for a model."""


class _Wrong:
    """Stands in a tree where something cannot be read."""

    def __init__(self, why: str) -> None:
        self.why = why


def read(raw: bytes, *, max_bytes: int, max_depth: int) -> Any:
    """Parse JSON in UTF-8; raises `NotStrict`."""
    if len(raw) > max_bytes:
        raise NotStrict(f"it has {len(raw)} bytes, and at most {max_bytes} are taken")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise NotStrict("it is not in UTF-8") from None
    try:
        value = _FAST.decode(text)
    except RecursionError:
        raise NotStrict(f"it is nested deeper than {max_depth}") from None
    except _NeedsLook:
        value = _SLOW.decode(text)
        raise NotStrict(next(_wrongs(value, "it"))) from None
    except ValueError as error:
        what = f": {error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise NotStrict(f"it is no JSON{what}") from None
    # Depth needs as many brackets, and half a character can only have come as an escape.
    if raw.count(b"{") + raw.count(b"[") > max_depth and is_deeper(value, max_depth):
        raise NotStrict(f"it is nested deeper than {max_depth}")
    if b"\\ud" in raw or b"\\uD" in raw:
        for complaint in _wrongs(value, "it"):
            raise NotStrict(complaint)
    return value


def is_deeper(value: Any, depth: int) -> bool:
    """Whether objects and arrays are nested deeper than this."""
    level = [value]
    for _ in range(depth):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return any(isinstance(node, dict | list) for node in level)


def step(path: str, name: object) -> str:
    """The path of a member or an item below another, for people: `filter.names[3]`."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    shown = made_visible(str(name).encode("utf-8", "replace").decode())[:80]
    return f"{path}.{shown}" if path not in {"", "it"} else shown


class _NeedsLook(ValueError):
    """Something is wrong; where, a slower reading tells."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NeedsLook
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NeedsLook
    return number


def _none(_text: str) -> float:
    raise _NeedsLook


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _NeedsLook
    return int(text)


MAX_DIGITS = 1000
"""Of a whole number: making one takes the square of it."""
_FAST = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_none, parse_int=_whole)


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        members[name] = _Wrong("is given twice") if name in members else value
    return members


def _float_or_wrong(text: str) -> object:
    return float(text) if math.isfinite(float(text)) else _Wrong(f"is {text[:40]}, a number too large to be told from others")


def _int_or_wrong(text: str) -> object:
    return (
        int(text)
        if len(text) <= MAX_DIGITS
        else _Wrong(f"is a number of {len(text)} digits, and at most {MAX_DIGITS} are taken")
    )


_SLOW = json.JSONDecoder(
    object_pairs_hook=_marked,
    parse_float=_float_or_wrong,
    parse_constant=lambda text: _Wrong(f"is {text}, which is no JSON"),
    parse_int=_int_or_wrong,
)


def _wrongs(value: Any, path: str) -> Iterator[str]:
    """What is wrong in a tree, as sentences."""
    if isinstance(value, _Wrong):
        yield f"`{path}` {value.why}" if path != "it" else f"it {value.why}"
    elif isinstance(value, str) and _SURROGATE.search(value):
        yield f"`{path}` holds half of a character"
    elif isinstance(value, dict):
        for name, child in value.items():
            if _SURROGATE.search(name):
                yield f"the name `{step(path, name)}` holds half of a character"
            yield from _wrongs(child, step(path, name))
    elif isinstance(value, list):
        for position, child in enumerate(value):
            yield from _wrongs(child, step(path, position))
