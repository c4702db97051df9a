"""What every tap does with bytes: whole lines out of reads that are cut anywhere, a bounded document out of a whole answer."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from turnwise.dialects.answer import UNREADABLE
from turnwise.dialects.base import Unread
from turnwise.dialects.events import DONE, EVENT_ENDS, payloads
from turnwise.dialects.facts import Facts
from turnwise.dialects.lines import Lines
from turnwise.dialects.saying import Piece, Saying

E = TypeVar("E")

MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
"""Largest answer in one piece that is kept for its usage; a larger one is counted as without."""

MAX_UNREAD = 64
MAX_UNREAD_BYTES = 1024
"""So many reads, none larger, wait to be searched together: what is searched for then comes last, and one search of many
reads costs a fraction of as many searches."""

NO_TEXT = (b"null", b'""', b"[]")
MAX_NO_TEXT_BYTES = max(map(len, NO_TEXT))


class AnswerTap(Facts, Lines, Generic[E]):
    """Watches one answer; facts are the same however the bytes are cut, and garbage leaves them None.

    Until the first visible text every event is looked at. After it reads are put by and searched a few at a time, at the latest
    when somebody asks, and only the events that carry one of `end_marks` are parsed. An answer of status 400 or above has no
    facts. With `wants_answer` it also learns what the answer says: then every event is read, those that repeat the frame of
    the one before without parsing.
    """

    visible_marks: ClassVar[re.Pattern[bytes]]
    """What an event with visible text has. No mark can occur inside a JSON string, where its quotes would be escaped."""
    end_marks: ClassVar[tuple[re.Pattern[bytes], ...]]
    """What an event that tells usage or an end has, one of them. A long literal at its start makes a search quick."""

    first_marks: ClassVar[tuple[re.Pattern[bytes], ...]]
    """What such an event or one with a piece of a tool call's arguments has, one of them, and perhaps a few others."""

    says_in_pieces: ClassVar[bool] = True
    """Whether a stream says in its pieces alone what it says; else an event at its end repeats all of it."""

    # A tap starts with these and writes only what it learns: one is made for every call.
    _saying: Saying | None = None
    _is_watching = False
    _is_stream = False
    _is_past_text = False
    """Whether the first visible text has come and no line is open."""

    def __init__(self, *, wants_answer: bool = False) -> None:
        super().__init__()
        self._unread_at: list[float] = []
        self._wants_answer = wants_answer

    @abstractmethod
    def _decode(self, payload: bytes) -> E:
        """Decode one event's payload; raises what `UNREADABLE` names."""

    @abstractmethod
    def _note(self, event: E, now: float) -> None:
        """Take the facts out of one event."""

    @abstractmethod
    def _pieces(self, event: E) -> Sequence[Piece] | None:
        """What one event says; None where that is not known."""

    @abstractmethod
    def _read_document(self, document: bytes, now: float) -> None:
        """Take the facts out of an answer in one piece."""

    @property
    def unread(self) -> Unread | None:
        """See `Watcher.unread`; the read that fills it is to be fed."""
        return Unread(self._unread, self._unread_at, MAX_UNREAD - 1) if self._is_past_text else None

    def on_head(self, status: int, *, is_stream: bool) -> None:
        """The answer's head has come."""
        self._is_watching = status < 400
        self._is_stream = is_stream
        if self._wants_answer and is_stream and self.says_in_pieces:
            self._saying = Saying()

    def feed(self, data: bytes, now: float) -> None:
        """Body bytes of one read."""
        if self._is_past_text and data.endswith(EVENT_ENDS) and len(data) <= MAX_UNREAD_BYTES:
            unread = self._unread
            unread.append(data)
            self._unread_at.append(now)
            if len(unread) >= MAX_UNREAD:
                self._read_unread()
            return
        self._feed_any(data, now)

    def _feed_any(self, data: bytes, now: float) -> None:
        if self._unread:
            self._read_unread()
        if not self._is_watching:
            return
        if not self._is_stream:
            self._hold(data, MAX_DOCUMENT_BYTES)
        elif self._held or self._is_overlong or not data.endswith(EVENT_ENDS):
            self._feed_cut(data, now)
        else:
            self._read(data, now)
        self._is_past_text = self.first_visible_at is not None and not self._held and not self._is_overlong

    def _read_unread(self) -> None:
        """Search what was put by. When it came tells of a first tool call alone: the first token and text came before."""
        reads, times = self._unread, self._unread_at
        data = b"".join(reads)
        saying = self._saying
        rest = data if saying is None else self._take(saying, data)
        has_mark = bool(rest) and self._has_mark(rest)
        if has_mark and self._first_tool_at is None:
            num_taken = len(data) - len(rest)
            for read, now in zip(reads, times, strict=True):
                if num_taken < len(read):
                    self._read(read[num_taken:], now)
                num_taken = max(0, num_taken - len(read))
        elif saying is not None and rest:
            self._read_all(saying, rest, times[0])
        elif has_mark:
            self._read_some(rest, times[0])
        reads.clear()
        times.clear()

    def close(self, now: float) -> None:
        """The body is complete."""
        if not self._is_watching:
            return
        if self._unread:
            self._read_unread()
        rest, self._held = bytes(self._held), b""
        if self._is_stream:
            self._read(rest, now)
            if self._saying is not None and self._finish_reason is not None:
                self._heard(self._saying.heard())
        elif rest or self._is_overlong:
            self.first_token_at = now
            self._read_document(rest, now)

    def _feed_cut(self, data: bytes, now: float) -> None:
        """A read that does not hold whole events only."""
        lines = self._lines(data)
        if lines:
            self._read(lines, now)

    def _forgot(self) -> None:
        self._saying = None

    def _read(self, lines: bytes, now: float) -> None:
        """Look at whole lines."""
        saying = self._saying
        if saying is not None:
            lines = self._take(saying, lines)
            if lines:
                self._read_all(saying, lines, now)
        elif self.first_visible_at is None or self._has_mark(lines):
            self._read_some(lines, now)

    def _take(self, saying: Saying, lines: bytes) -> bytes:
        """Take in the events that repeat the frame of one that was read, in which no fact is new; gives what stands behind."""
        lines = saying.take(lines)
        if saying.is_lost:
            self._saying = None
        return lines

    def _read_some(self, lines: bytes, now: float) -> None:
        """Read the events that matter."""
        for payload in payloads(lines):
            if self._matters(payload):
                self._read_event(payload, now)

    def _read_all(self, saying: Saying, lines: bytes, now: float) -> None:
        """Read every event, since each may say something; those behind the first that repeat its frame need no parser."""
        end = lines.find(b"\n\n") + 2
        if 2 <= end < len(lines):
            self._read_each(saying, lines[:end], now)
            lines = self._take(saying, lines[end:])
        if lines:
            self._read_each(saying, lines, now)

    def _read_each(self, saying: Saying, lines: bytes, now: float) -> None:
        """Parse every event and learn the frame of the last; no fact is taken from those that do not matter."""
        pieces: Sequence[Piece] | None = None
        for payload in payloads(lines):
            pieces = None
            if payload.strip() in DONE:
                continue
            try:
                event = self._decode(payload)
            except UNREADABLE:
                saying.is_lost = True
                continue
            if self._matters(payload):
                self._note(event, now)
            pieces = self._pieces(event)
            saying.add(pieces)
        if saying.is_lost:
            self._saying = None
        elif not self._has_mark(lines):
            saying.learn(lines, pieces, self._pieces_of)

    def _read_event(self, payload: bytes, now: float) -> None:
        try:
            event = self._decode(payload)
        except UNREADABLE:
            return
        self._note(event, now)

    def _pieces_of(self, payload: bytes) -> Sequence[Piece] | None:
        try:
            return self._pieces(self._decode(payload))
        except UNREADABLE:
            return None

    def _matters(self, payload: bytes) -> bool:
        if self.first_token_at is None:
            return True
        if self.first_visible_at is None and self.visible_marks.search(payload):
            return True
        return self._has_mark(payload)

    def _has_mark(self, data: bytes) -> bool:
        # Once the first piece of arguments has come, no other matters.
        for mark in self.first_marks if self._first_tool_at is None else self.end_marks:
            if mark.search(data) is not None:
                return True
        return False
