"""The strict reading of arguments: once, when they have closed."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import msgspec

MAX_BYTES = 1024 * 1024
"""Longest arguments."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def whole(pieces: list[str]) -> str | None:
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


def arguments(text: str) -> msgspec.Raw | None:
    """The one JSON object that a text is, as it is written; None where it is none.

    No name may stand twice in an object, no number may be none or infinite, no string may hold half a surrogate pair.
    """
    try:
        encoded = text.encode()
        parsed = _STRICT.decode(text)
        if _HALF.search(text) is not None:
            _ANY.decode(text)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    return msgspec.Raw(encoded) if type(parsed) is dict and len(encoded) <= MAX_BYTES else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError
    return number


def _refuse(literal: str) -> NoReturn:
    raise ValueError(literal)


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_refuse)
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
