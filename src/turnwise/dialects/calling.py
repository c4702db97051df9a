"""Tool calls as an answer writes them: read out of its bytes after these were written on, and told piece by piece."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from turnwise.dialects.answer import UNREADABLE
from turnwise.dialects.events import DONE, EVENT_ENDS, payloads
from turnwise.dialects.lines import Lines
from turnwise.dialects.tap import MAX_DOCUMENT_BYTES, MAX_UNREAD, MAX_UNREAD_BYTES

E = TypeVar("E")

Place = int | str
"""Where a call stands among those of its choice, as the API counts or names them."""

NOTHING = msgspec.Raw(b"")
"""A member that is not there."""

_NO_ARGUMENTS = (b"", b"null", b'""')


class Ending(StrEnum):
    """How an answer said that it ended."""

    CLEAN = "clean"
    LENGTH = "length"
    FILTERED = "filtered"
    REFUSED = "refused"
    STOPPED = "stopped"
    """A stop string, or a reason that is none of the known clean ones."""
    BROKEN = "broken"
    """It told of an error, something of it could not be read, or it did not say that it ended."""


class Hearer(Protocol):
    """Is told of the tool calls of one answer; `choice` and `place` name a call."""

    def began(self, choice: int, place: Place, call_id: str, name: str) -> None:
        """A call begins, by an event that does nothing else."""

    def said(self, choice: int, place: Place, call_id: str, name: str, text: str, now: float) -> None:
        """A piece of a call has come, of its arguments or its name; what is empty is not said.

        The text is as it was written, half a surrogate pair included. With an id and a name it may begin a call.
        """

    def closed(
        self, choice: int, place: Place, now: float, *, text: str | None = None, call_id: str = "", name: str = ""
    ) -> None:
        """A call ends, by the API's own word; `text`, `call_id` and `name` are what it repeats of the call."""

    def cut(self, choice: int, place: Place, now: float) -> None:
        """A call ends before its time, by the API's own word."""


class CallWatcher(Lines, ABC):
    """Watches one answer for tool calls; told is the same however the bytes are cut, and garbage at worst breaks the answer.

    Reads of whole events without `mark` cost one search for it: they are put by, and searched a few at a time for how the
    answer ends. The others are parsed. An answer of status 400 or above has no calls.
    """

    mark: ClassVar[bytes]
    """What every event has that begins a call; it cannot stand in a text, where its quotes would be escaped."""
    end_marks: ClassVar[tuple[bytes, ...]]
    """What every event has that tells how the answer ends, one of them."""

    _is_watching = False
    _is_stream = False
    _is_open = False
    """Whether events without a mark matter too."""
    _is_lost = False
    """Whether something could not be read, was too long, or told of an error."""
    _is_done = False
    """Whether the answer said that nothing follows."""

    def __init__(self, hearer: Hearer) -> None:
        self._hearer = hearer
        self._unread: list[bytes] = []
        self._ending: Ending | None = None

    @abstractmethod
    def _read_event(self, payload: bytes, now: float) -> None:
        """Take in one event; raises what `UNREADABLE` names."""

    @abstractmethod
    def _read_document(self, document: bytes, now: float) -> None:
        """Take in an answer in one piece; raises what `UNREADABLE` names."""

    @property
    def ending(self) -> Ending:
        """How the answer has ended, as far as it says; `BROKEN` until it has said so, and where not all of it was read."""
        if self._unread:
            self._read_unread(0.0)
        if self._is_lost or not self._is_done or self._ending is None:
            return Ending.BROKEN
        return self._ending

    def on_head(self, status: int, *, is_stream: bool) -> None:
        """The answer's head has come."""
        self._is_watching = status < 400
        self._is_stream = is_stream

    def feed(self, data: bytes, now: float) -> None:
        """Body bytes of one read."""
        if self.mark not in data and data.endswith(EVENT_ENDS) and self._can_wait(data):
            self._unread.append(data)
            if len(self._unread) >= MAX_UNREAD:
                self._read_unread(now)
        elif self._is_watching:
            self._feed_any(data, now)

    def close(self, now: float) -> None:
        """The body is complete."""
        if not self._is_watching:
            return
        if self._unread:
            self._read_unread(now)
        rest, self._held = bytes(self._held), b""
        if self._is_stream:
            self._read(rest, now)
        elif rest:
            self._is_done = True
            self._try(self._read_document, rest, now)

    def _can_wait(self, data: bytes) -> bool:
        return (
            self._is_stream
            and self._is_watching
            and not (self._is_open or self._held or self._is_overlong)
            and len(data) <= MAX_UNREAD_BYTES
        )

    def _feed_any(self, data: bytes, now: float) -> None:
        if self._unread:
            self._read_unread(now)
        if not self._is_stream:
            self._hold(data, MAX_DOCUMENT_BYTES)
        elif self._held or self._is_overlong or not data.endswith(EVENT_ENDS):
            self._read(self._lines(data), now)
        else:
            self._read(data, now)

    def _read_unread(self, now: float) -> None:
        """Look for the answer's end in what was put by."""
        data = b"".join(self._unread)
        self._unread.clear()
        if self._has_end(data):
            self._read(data, now)

    def _read(self, lines: bytes, now: float) -> None:
        for payload in payloads(lines):
            if (self._is_open or self.mark in payload or self._has_end(payload)) and payload.strip() not in DONE:
                self._try(self._read_event, payload, now)
            elif b"[DONE]" in payload:
                self._end_of_data()

    def _try(self, read: Any, payload: bytes, now: float) -> None:
        try:
            read(payload, now)
        except UNREADABLE:
            self._is_lost = True

    def _has_end(self, data: bytes) -> bool:
        for mark in self.end_marks:  # noqa: SIM110 - a generator takes three times as long
            if mark in data:
                return True
        return False

    def _end_of_data(self) -> None:
        """`[DONE]` has come, which means something in one API alone."""

    def _forgot(self) -> None:
        self._is_lost = True

    def _ended(self, ending: Ending) -> None:
        """The answer, or one of its choices, says how it ended; of several the first that is not clean counts."""
        if self._ending is None or self._ending is Ending.CLEAN:
            self._ending = ending


def decode(decoder: msgspec.json.Decoder[E], kind: type[E], payload: bytes) -> E:
    """Decode an event; raises what `UNREADABLE` names.

    Half a surrogate pair, whose other half another event brings, stays half a pair in members of type `Any`.
    """
    try:
        return decoder.decode(payload)
    except UNREADABLE:
        if b"\\ud" not in payload.lower():
            raise
    try:
        return msgspec.convert(json.loads(payload), kind)
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from None


def text_of(value: Any) -> str:
    """A string as it is, and an empty one for anything else."""
    return value if type(value) is str else ""


def place_of(*values: Any) -> Place:
    """The first of these that can name a place; 0 where none can."""
    for value in values:
        if type(value) is int or (type(value) is str and value):
            return value
    return 0


def arguments_of(raw: msgspec.Raw) -> str:
    """Arguments as a text of JSON, whether they were written as a string or as an object; raises what `UNREADABLE` names."""
    said = bytes(raw)
    if said in _NO_ARGUMENTS:
        return ""
    return _TEXT.decode(said) if said.startswith(b'"') else said.decode()


_TEXT = msgspec.json.Decoder(str)
