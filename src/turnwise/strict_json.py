"""JSON read so that no two readers can read it differently: no member twice, no number that is none, no half of a character."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from turnwise.invisible import made_visible

_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""The escape of half a character, as most whole ones have two of them."""
_SOME_DIGITS, _MANY_DIGITS = re.compile("[0-9]{10}"), re.compile("[0-9]{1001}")


class NotStrict(ValueError):
    """It is not JSON, or can be read in more than one way; the message names the member, and is a sentence for a model."""


class _Wrong:
    """Stands in a tree where something cannot be read."""

    def __init__(self, why: str) -> None:
        self.why = why


def read(raw: bytes, *, max_bytes: int, max_depth: int | None = None) -> Any:
    """Parse JSON in UTF-8; raises `NotStrict`. Without `max_depth` the parser's own bound holds, some hundreds."""
    if len(raw) > max_bytes:
        raise NotStrict(f"it has {len(raw)} bytes, and at most {max_bytes} are taken")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise NotStrict("it is not in UTF-8") from None
    value, complaint = None, None
    too_deep = "it is nested too deep" if max_depth is None else f"it is nested deeper than {max_depth}"
    try:
        value = _FAST.decode(text)
        # Depth needs as many brackets.
        if max_depth is not None and raw.count(b"{") + raw.count(b"[") > max_depth and is_deeper(value, max_depth):
            complaint = too_deep
        elif _may_hold_half(text) or _may_hold_long_number(text):
            complaint = _look(text)
    except RecursionError:
        complaint = too_deep
    except json.JSONDecodeError as error:
        complaint = _no_json(error)
    except ValueError:
        complaint = _look(text) or "it is no JSON"
    if complaint is not None:
        raise NotStrict(complaint)
    return value


def joined(pieces: list[str]) -> str | None:
    """The text of all pieces; None where it is no Unicode, having half a surrogate pair.

    The halves of a pair may have come in two pieces.
    """
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            return None
    return text


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


def _may_hold_half(text: str) -> bool:
    """Whether a text may hold half of a character, as an escape; another reader, which refuses that, takes all others."""
    if _HALF.search(text) is None:
        return False
    try:
        _OTHER.decode(text)
    except msgspec.MsgspecError:
        return True
    return False


def _may_hold_long_number(text: str) -> bool:
    """Whether so many digits stand in a row: they leave ten in every 97th character, and a look at all takes far longer."""
    return len(text) > MAX_DIGITS and _SOME_DIGITS.search(text[96::97]) is not None and _MANY_DIGITS.search(text) is not None


def _look(text: str) -> str | None:
    """What is wrong with a text, by a slower reading that knows where; None where nothing is."""
    try:
        return next(_wrongs(_SLOW.decode(text), "it"), None)
    except RecursionError:
        return "it is nested too deep"
    except json.JSONDecodeError as error:
        return _no_json(error)


def _no_json(error: json.JSONDecodeError) -> str:
    return f"it is no JSON: {error.msg} at character {error.pos}"


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


_OTHER: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


MAX_DIGITS = 1000
"""Of a whole number: making one takes the square of it."""
_FAST = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_none)


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
