"""Sees a JSON object close while its text comes in pieces; each character is looked at once."""

from __future__ import annotations

import re

MAX_DEPTH = 64
"""Deepest nesting of arguments; the outermost object is the first level."""

SPACE = " \t\n\r"
"""White space as JSON has it."""

_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'[][{}"]')
_CLOSERS = {"{": "}", "[": "]"}


class Scanner:
    """Follows strings and brackets, and nothing else: whether what closed is JSON, a parser says."""

    __slots__ = ("_closers", "_is_escaped", "_is_in_string", "is_broken")

    def __init__(self) -> None:
        self._closers: list[str] = []
        self._is_in_string = False
        self._is_escaped = False
        """Whether the last piece ended behind a backslash."""
        self.is_broken = False
        """Whether this can be no object any more: it begins otherwise, a bracket of another kind closes, or it is too deep."""

    def feed(self, text: str) -> int:
        """Look at the next piece; gives the offset in it just behind the end of the object, 0 while it is open."""
        at = 0
        if self._is_in_string:
            if self._is_escaped and text:
                self._is_escaped = False
                at = 1
            at = self._string_end(text, at)
            if at < 0:
                return 0
        elif not self._closers:
            at = len(text) - len(text.lstrip(SPACE))
            if at == len(text):
                return 0
            if text[at] != "{":
                self.is_broken = True
                return 0
        return self._scan(text, at)

    def _scan(self, text: str, at: int) -> int:
        closers = self._closers
        while found := _OUTSIDE.search(text, at):
            mark, at = found[0], found.end()
            if mark == '"':
                at = self._string_end(text, at)
                if at < 0:
                    return 0
            elif mark in _CLOSERS:
                closers.append(_CLOSERS[mark])
                if len(closers) > MAX_DEPTH:
                    self.is_broken = True
                    return 0
            elif closers.pop() != mark:
                self.is_broken = True
                return 0
            elif not closers:
                return at
        return 0

    def _string_end(self, text: str, at: int) -> int:
        """The offset behind the quote that ends the string in which `at` stands; -1 where another piece must bring it."""
        while found := _IN_STRING.search(text, at):
            at = found.end()
            if found[0] == '"':
                self._is_in_string = False
                return at
            if at == len(text):
                self._is_escaped = True
                break
            at += 1
        self._is_in_string = True
        return -1
