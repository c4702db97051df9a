"""Tool calls as an answer writes them: read out of its bytes after these were written on, and told piece by piece."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from turnwise.dialects.answer import UNREADABLE
from turnwise.dialects.calling_frame import Frame, Place, Recorder, Said
from turnwise.dialects.events import DONE, EVENT_ENDS, payloads
from turnwise.dialects.lines import Lines
from turnwise.dialects.tap import MAX_DOCUMENT_BYTES, MAX_UNREAD, MAX_UNREAD_BYTES

E = TypeVar("E")

MAX_MISSES = 4
"""Frames learned in a row that fitted no later event; then the stream has none, and each event is read by itself."""

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

    Reads of whole events without `mark` cost one search for it: the last of them are kept, for how an answer ends stands in its
    last events; with `is_one_of_several` none is dropped unread, since each choice has an end of its own. The others are
    parsed, but for those that repeat the frame of the one before. An answer of status 400 or above has no calls.
    """

    mark: ClassVar[bytes]
    """What every event has that begins a call; in a text its quote would be escaped. Found sooner without a quote before it."""
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
    _is_resting = False
    """Whether reads of whole events without a mark may wait."""
    _frame: Frame | None = None
    """That of the event before, where that was the only one of its read and brought a piece of arguments alone."""
    _said: Said | None = None
    """What the event that is being read has said last."""
    _num_said = 0
    """How many pieces of calls were said."""
    _num_misses = 0

    def __init__(self, hearer: Hearer, *, is_one_of_several: bool = False) -> None:
        self._hearer = hearer
        self._drops = not is_one_of_several
        self._before: list[bytes] = []
        """Reads put by before those of `_unread`, `MAX_UNREAD` at most."""
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
        if self._unread or self._before:
            self._read_unread(0.0)
        if self._is_lost or not self._is_done or self._ending is None:
            return Ending.BROKEN
        return self._ending

    def on_head(self, status: int, *, is_stream: bool) -> None:
        """The answer's head has come."""
        self._is_watching = status < 400
        self._is_stream = is_stream
        self._is_resting = is_stream and self._is_watching

    def feed(self, data: bytes, now: float) -> None:
        """Body bytes of one read."""
        frame = self._frame
        if frame is not None:
            text = frame.piece(data)
            if text is not None:
                self._hearer.said(frame.choice, frame.place, "", "", text, now)
                return
            self._frame = None
            self._num_misses = 0 if frame.has_met else self._num_misses + 1
        if self._is_resting and self.mark not in data and data.endswith(EVENT_ENDS) and len(data) <= MAX_UNREAD_BYTES:
            unread = self._unread
            unread.append(data)
            if len(unread) >= MAX_UNREAD:
                self._put_by(now)
        elif self._is_watching:
            self._feed_any(data, now)

    def close(self, now: float) -> None:
        """The body is complete."""
        if not self._is_watching:
            return
        if self._unread or self._before:
            self._read_unread(now)
        rest, self._held = bytes(self._held), b""
        if self._is_stream:
            self._read(rest, now)
        elif rest:
            self._is_done = True
            self._try(self._read_document, rest, now)

    def _feed_any(self, data: bytes, now: float) -> None:
        if self._unread or self._before:
            self._read_unread(now)
        if not self._is_stream:
            self._hold(data, MAX_DOCUMENT_BYTES)
            return
        if self._held or self._is_overlong or not data.endswith(EVENT_ENDS):
            self._read(self._lines(data), now)
        else:
            num_said, self._said = self._num_said, None
            self._read(data, now)
            if self._said is not None and self._num_said == num_said + 1 and self._num_misses < MAX_MISSES:
                self._learn(data, self._said)
        self._is_resting = not (self._is_open or self._held or self._is_overlong)

    def _learn(self, data: bytes, said: Said) -> None:
        """Learn the frame of a read that said this, if it says a probe in its place."""
        frame = Frame.around(data, said)
        if frame is None:
            return
        hearer, was_lost = self._hearer, self._is_lost
        self._hearer = recorder = Recorder()
        self._read(frame.probe(), 0.0)  # which is no event at all where the piece was found in another place
        self._hearer, self._is_lost = hearer, was_lost
        if recorder.is_probe(frame.choice, frame.place):
            self._frame = frame

    def _say(self, choice: int, place: Place, call_id: str, name: str, text: str, now: float) -> None:
        """Tell of a piece of a call."""
        self._num_said += 1
        self._said = (choice, place, text) if text and not (call_id or name) else None
        self._hearer.said(choice, place, call_id, name, text, now)

    def _put_by(self, now: float) -> None:
        """Make room for further reads."""
        if self._drops:
            self._before, self._unread = self._unread, []
        else:
            self._read_unread(now)

    def _read_unread(self, now: float) -> None:
        """Look for the answer's end in what was put by."""
        data = b"".join((*self._before, *self._unread))
        self._before, self._unread = [], []
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
