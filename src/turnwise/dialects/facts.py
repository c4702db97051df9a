"""What a tap has learned of its answer, to the last byte that it was given."""

from __future__ import annotations

from abc import ABC, abstractmethod

from turnwise.dialects.assistant import Heard
from turnwise.turns import ToolCall
from turnwise.types import Answer, Usage


class Facts(ABC):
    """The facts of one answer: see `Tap`. Reads that were put by are read before a fact is told that they may hold."""

    # A tap starts with these and writes only what it learns: one is made for every call.
    first_token_at: float | None = None
    first_visible_at: float | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    _first_tool_at: float | None = None
    _response_id: str | None = None
    _usage: Usage | None = None
    _finish_reason: str | None = None
    _answer: Answer | None = None

    def __init__(self) -> None:
        self._unread: list[bytes] = []

    @abstractmethod
    def _read_unread(self) -> None:
        """Read what was put by."""

    @property
    def usage(self) -> Usage | None:
        """See `Tap.usage`."""
        if self._unread:
            self._read_unread()
        return self._usage

    @property
    def finish_reason(self) -> str | None:
        """See `Tap.finish_reason`."""
        if self._unread:
            self._read_unread()
        return self._finish_reason

    @property
    def response_id(self) -> str | None:
        """See `Tap.response_id`."""
        if self._unread:
            self._read_unread()
        return self._response_id

    @property
    def first_tool_at(self) -> float | None:
        """See `Tap.first_tool_at`."""
        if self._unread:
            self._read_unread()
        return self._first_tool_at

    @property
    def answer(self) -> Answer | None:
        """See `Tap.answer`."""
        return self._answer

    def _heard(self, heard: Heard | None) -> None:
        """Take what the answer says, if that is known."""
        if heard is not None:
            self._answer = heard.answer()
            if heard.calls:
                self.tool_calls = heard.tool_calls()

    def _saw_token(self, now: float, *, is_visible: bool) -> None:
        """Content has come; the first of a kind counts."""
        if self.first_token_at is None:
            self.first_token_at = now
        if is_visible and self.first_visible_at is None:
            self.first_visible_at = now

    def _saw_arguments(self, now: float) -> None:
        """A piece of a tool call's arguments has come; the first counts."""
        if self._first_tool_at is None:
            self._first_tool_at = now
