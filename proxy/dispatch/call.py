"""One tool call while it is written."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from turnwise import strict_json
from turnwise.proxy.dispatch.scanner import SPACE, Scanner
from turnwise.tools_gateway.messages import Void

MAX_BYTES = 1024 * 1024
"""Longest arguments."""


class State(IntEnum):
    """How far a call has come; what is void, or whose name never came, stays so."""

    NAMED = 0
    """No piece of its arguments has come, so more of its name may."""
    OPEN = 1
    CLOSED = 2
    VOID = 3
    NAMELESS = 4


class WrittenCall:
    """What is known of one call; its methods say why it is void, where what they were given makes it so."""

    __slots__ = ("_num_chars", "_pieces", "_scanner", "id", "index", "name", "state")

    def __init__(self, index: int, call_id: str, name: str) -> None:
        self.index = index
        self.id = call_id
        self.name = name
        self.state = State.NAMED
        self._scanner = Scanner()
        self._pieces: list[str] = []
        self._num_chars = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing that comes of it matters."""
        return self.state >= State.VOID

    @property
    def has_arguments(self) -> bool:
        """Whether any piece of its arguments has come."""
        return bool(self._pieces)

    def identify(self, call_id: str, name: str) -> Void | None:
        """Take in an id, and a piece of a name while that is not final; engines split names, or repeat them whole."""
        if call_id and not self.id:
            self.id = call_id
        if call_id and call_id != self.id:
            return Void.DRIFT
        if not name or name == self.name:
            return None
        if self.state is not State.NAMED:
            return Void.DRIFT
        self.name += name
        return None

    def add(self, text: str) -> Void | None:
        """Take in a piece of its arguments, which is not empty; `state` then says whether it closed them."""
        self._pieces.append(text)
        self._num_chars += len(text)
        if self._num_chars > MAX_BYTES:
            return Void.MALFORMED
        if self.state is State.CLOSED:
            return Void.DRIFT if text.strip(SPACE) else None
        end = self._scanner.feed(text)
        if end:
            self.state = State.CLOSED
            return Void.DRIFT if text[end:].strip(SPACE) else None
        return Void.MALFORMED if self._scanner.is_broken else None

    def repeats(self, text: str) -> bool:
        """Whether a text is what has come of its arguments."""
        return text == strict_json.joined(self._pieces)

    def void(self) -> None:
        """Forget what has come of it; nothing that comes matters."""
        self.state = State.VOID
        self._pieces.clear()

    def arguments(self) -> msgspec.Raw | None:
        """Its arguments by the strict reading, once they have closed."""
        text = strict_json.joined(self._pieces)
        if text is None:
            return None
        self._pieces = [text]  # half a megabyte in pieces of four letters takes ten times as much
        raw = text.encode()
        try:
            value = strict_json.read(raw, max_bytes=MAX_BYTES)
        except strict_json.NotStrict:
            return None
        return msgspec.Raw(raw) if type(value) is dict else None
