"""Characters that people do not see and models read: what is hidden in a text is taken out of it, or shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_CONTROL = "\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f"
_MARKS = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Zero width, bidirectional, fillers, tags: Default_Ignorable_Code_Point of Unicode 16 and what orders text, without joiners
and variation selectors."""
_JOINERS = "\u200c\u200d\ufe00-\ufe0f"
"""Joiners and variation selectors: part of letters of many scripts and of emoji, where one stands behind one of these."""
_JOINED = (
    "\u00a9\u00ae\u0590-\u1fff\u203c-\u3163\u3165-\ud7ff\uf900-\ufdff\ufe10-\ufefe\U0001f000-\U0001faff\U00020000-\U0003ffff"
)

_KEYCAP = "(?<=[0-9#*])\ufe0f"
_ESCAPE = "\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-Z\\\\^_])"
_ANYWHERE = re.compile(f"{_ESCAPE}|[{_CONTROL}{_MARKS}]|(?<![{_JOINED}\ufe0f])(?!{_KEYCAP})[{_JOINERS}]")
_IN_ASCII = re.compile(f"{_ESCAPE}|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HIDDEN = re.compile(f"[{_CONTROL}{_MARKS}{_JOINERS}]")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


def without_invisible(text: str) -> str:
    """A text without control, zero-width, bidirectional and tag characters, nor sequences that tell a terminal what to do."""
    if text.isprintable() and text.isascii():
        return text
    if text.isascii():
        return _IN_ASCII.sub("", text)
    return _ANYWHERE.sub("", text)


def without_comments(text: str) -> str:
    """A text without HTML comments, which no page shows."""
    return _COMMENT.sub("", text) if "<!--" in text else text


def in_all_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every text in it changed, names of members too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [in_all_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {change(name): in_all_texts(child, change) for name, child in value.items()}
    return value


def made_visible(text: str) -> str:
    """A text for a terminal: each hidden character as its code point, `<U+200B>`."""
    return _HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)
