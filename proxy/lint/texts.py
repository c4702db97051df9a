"""What two texts are but for: blanks, the order of keys, or something that is new each time it is written."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import msgspec

from turnwise.proxy.lint.causes import Cause
from turnwise.types import Raw

MAX_DECODED_BYTES = 1024 * 1024
"""Larger parts are compared as text only: the loop serves clients meanwhile."""

MAX_SCANNED_BYTES = 16 * 1024
"""What is searched for dates, ids and numbers, at about 0.1 us a byte; texts that differ over more differ in more."""

REACH_BYTES = 128


class Volatile(StrEnum):
    """What is new each time it is written."""

    DATE = "date"
    ID = "id"
    NUMBER = "number"


_DAY = rb"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_MONTH = (
    rb"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    rb"Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_TIME = rb"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[AaPp]\.?[Mm]\b\.?)?"
_ZONE = rb"(?:Z\b|\s?[+-]\d{2}:?\d{2}\b|\s(?:UTC|GMT|[A-Z]{2,3}T)\b)"
_NTH = rb"\d{1,2}(?:st|nd|rd|th)?\b"
_DATE_IN_DIGITS = (
    rb"\d{4}[-/.]\d{2}[-/.]\d{2}(?:(?:T|[ _]|,\s)" + _TIME + rb")?" + _ZONE + rb"?(?!\w)"
    rb"|\d{8}T\d{4,6}Z?\b"
    rb"|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}\b(?:,?\s" + _TIME + rb")?"
    rb"|" + _TIME + _ZONE + rb"?(?![\w:])"
    rb"|1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9}|\.\d+)?(?!\w)"
)
_DATE_IN_WORDS = (
    rb"(?:" + _DAY + rb",?\s+)?(?:" + _NTH + rb"[\s-](?:of\s)?" + _MONTH + rb"|" + _MONTH + rb"\s+" + _NTH + rb")"
    rb"(?:(?:,|\sat)?\s+" + _TIME + _ZONE + rb"?)?(?:[,\s-]+\d{4}\b)?(?:(?:,|\sat)?\s+" + _TIME + _ZONE + rb"?)?"
    rb"|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"
)
_TOKEN = re.compile(
    # What begins within a word is a number at most; and letters that begin no name of a day or month are soon passed over.
    rb"(?<![0-9A-Za-z.:/])(?:(?P<date>(?=\d)(?:" + _DATE_IN_DIGITS + rb")|(?=[JFMASOND0-9TW])(?:" + _DATE_IN_WORDS + rb")))"
    rb"|(?<![0-9A-Za-z])(?P<id>"
    rb"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    rb"|(?=[a-f]*\d)[0-9a-f]{7,}(?![0-9A-Za-z])"
    rb"|(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[0-9A-Za-z]{10,}(?![0-9A-Za-z]))"
    rb"|(?P<number>\d+(?:\.\d+)?)"
)
_BY_GROUP: dict[str | None, Volatile] = {what.value: what for what in Volatile}
_ESCAPE = re.compile(rb"\\[^u]")
_BLANKS = b" \t\n\r"
_ESCAPED_BLANKS = (rb"\n", rb"\t", rb"\r")
_REASONING_KEYS = frozenset(("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks"))
_REASONING_BLOCKS = frozenset(("thinking", "redacted_thinking", "reasoning"))
_UNORDERED = frozenset(("required", "enum", "dependentRequired", "type"))
"""Members of a JSON schema whose lists have no order."""


def common_prefix(one: bytes, other: bytes) -> int:
    """Length of what both begin with; halves the range with comparisons of slices, so it runs at the speed of memory."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_suffix(one: bytes, other: bytes, at_most: int) -> int:
    """Length of what both end with, not more than `at_most`."""
    low, high = 0, at_most
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def respelling(one: bytes, other: bytes) -> Cause | None:
    """How two different texts say the same: by key order, blanks or escapes; None where they do not."""
    is_same_but_for_blanks = _unspaced(one) == _unspaced(other)
    left, right = decoded(one), decoded(other)
    if left is not None and right is not None:
        if _in_order(left) == _in_order(right):
            return Cause.JSON_SPELLING
        if is_same_but_for_blanks:
            return Cause.WHITESPACE
        left, right = unfolded(left), unfolded(right)
        if _in_order(left) == _in_order(right):
            return Cause.WHITESPACE  # within JSON that is itself the text of a string, where the model reads them
        if sorted_json(left) == sorted_json(right):
            return Cause.KEY_ORDER
    return Cause.WHITESPACE if is_same_but_for_blanks else None


def volatile(one: bytes, other: bytes) -> tuple[Volatile | None, bool]:
    """What stands where two different texts part, if it is new each time; and whether they are equal but for such things."""
    at = common_prefix(one, other)
    end = common_suffix(one, other, min(len(one), len(other)) - at)
    # What is looked for takes some dozens of bytes, so it lies in here if it reaches to what differs.
    start = max(0, at - REACH_BYTES)
    left, right = one[start : len(one) - max(0, end - REACH_BYTES)], other[start : len(other) - max(0, end - REACH_BYTES)]
    is_all = max(len(left), len(right)) <= MAX_SCANNED_BYTES
    left, right = _plain(left[:MAX_SCANNED_BYTES]), _plain(right[:MAX_SCANNED_BYTES])
    before, after = _tokens(left), _tokens(right)
    is_all = is_all and _skeleton(left, before) == _skeleton(right, after)
    at -= start
    for token, twin in zip(before, after, strict=False):
        if token[0] > at:
            break
        if token[0] == twin[0] and token[2] is twin[2] and left[token[0] : token[1]] != right[twin[0] : twin[1]]:
            is_as_long = token[1] == twin[1]
            is_sure = is_all or token[2] is Volatile.DATE or (token[2] is Volatile.ID and is_as_long)
            return (token[2], is_all) if at <= max(token[1], twin[1]) and is_sure else (None, False)
    return None, False


def holds_volatile(text: bytes) -> bool:
    """Whether a piece of text holds a date, a time or an id."""
    return any(token[2] is not Volatile.NUMBER for token in _tokens(_plain(text)))


def decoded(raw: Raw) -> Any:
    """The value of a JSON text; None where it is none, or too large to be looked into."""
    if len(raw) > MAX_DECODED_BYTES:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def unfolded(value: Any) -> Any:
    """A JSON value with the JSON in its strings read too: the arguments of tool calls are such strings."""
    if isinstance(value, dict):
        return {key: unfolded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unfolded(item) for item in value]
    if isinstance(value, str) and value[:1] in {"{", "["}:
        inner = decoded(value.encode())
        return value if inner is None else inner
    return value


def sorted_json(value: Any) -> bytes:
    """JSON with keys sorted, and lists that have no order."""
    return msgspec.json.encode(_unordered(value, None), order="sorted")


def without_reasoning(turn: Any) -> Any:
    """An assistant turn less what it thought, and less members that say nothing."""
    if not isinstance(turn, dict):
        return turn
    kept = {key: value for key, value in turn.items() if key not in _REASONING_KEYS}
    content = kept.get("content")
    if isinstance(content, list):
        kept["content"] = [
            block for block in content if not (isinstance(block, dict) and block.get("type") in _REASONING_BLOCKS)
        ]
    elif isinstance(content, str):
        kept["content"] = _without_thoughts(content).strip()
    return {key: value for key, value in kept.items() if value not in (None, "", [])}


def has_reasoning(turn: Any) -> bool:
    """Whether an assistant turn says what the model thought."""
    if not isinstance(turn, dict):
        return False
    content = turn.get("content")
    blocks = content if isinstance(content, list) else ()
    return (
        turn.get("type") == "reasoning"
        or any(turn.get(key) for key in _REASONING_KEYS)
        or any(isinstance(block, dict) and block.get("type") in _REASONING_BLOCKS for block in blocks)
        or (isinstance(content, str) and _without_thoughts(content) != content)
    )


def is_reasoning_item(raw: bytes) -> bool:
    """Whether a turn is nothing but reasoning: an item of its own in the responses API."""
    value = decoded(raw)
    return isinstance(value, dict) and value.get("type") == "reasoning"


def _without_thoughts(text: str) -> str:
    """Text less what stands between `<think>` and `</think>`."""
    kept: list[str] = []
    at = 0
    while (start := text.find("<think>", at)) >= 0 and (end := text.find("</think>", start)) >= 0:
        kept.append(text[at:start])
        at = end + len("</think>")
    return "".join((*kept, text[at:]))


def _unordered(value: Any, name: str | None) -> Any:
    if isinstance(value, dict):
        return {key: _unordered(item, key) for key, item in value.items()}
    if isinstance(value, list):
        items = [_unordered(item, None) for item in value]
        return sorted(items, key=msgspec.json.encode) if name in _UNORDERED else items
    return value


def _in_order(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _unspaced(raw: bytes) -> bytes:
    raw = raw.translate(None, _BLANKS)
    for blank in _ESCAPED_BLANKS:
        raw = raw.replace(blank, b"")
    return raw


def _plain(raw: bytes) -> bytes:
    """A JSON text of the same length, blanks in place of its escapes: the `n` of a line end is no letter of a word."""
    return _ESCAPE.sub(b"  ", raw) if b"\\" in raw else raw


def _tokens(text: bytes) -> list[tuple[int, int, Volatile]]:
    return [(match.start(), match.end(), _BY_GROUP[match.lastgroup]) for match in _TOKEN.finditer(text)]


def _skeleton(text: bytes, tokens: list[tuple[int, int, Volatile]]) -> list[bytes]:
    """The text between the tokens, and what each token is; an id counts with its length, which random ones keep."""
    start = 0
    pieces: list[bytes] = []
    for begin, end, what in tokens:
        pieces += (text[start:begin], b"id%d" % (end - begin) if what is Volatile.ID else what.value.encode())
        start = end
    pieces.append(text[start:])
    return pieces
