"""What a stream says, put together while it comes: nearly every event of one differs from the event before in a few letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from turnwise.dialects.answer import MAX_SAID_BYTES, UNREADABLE
from turnwise.dialects.assistant import Heard

TEXT, REASONING = -1, -2
"""Where a piece belongs, if not to the arguments of the tool call of that number."""

MAX_MISSES = 4
"""Frames learned in a row that fitted no later event; then the stream has none, and each event is read by itself."""

MARK_BYTES = 20
"""Of a frame, those before the piece by which pieces are looked for: long enough for a quick search, and not too long."""

_END = b"\n\n"
_DATA = b"data:"
_PROBE = b'"turnwise"'
_CLEAN = re.compile(rb'[^"\\]*+(?:\\(?!u[dD][89a-fA-F])[^\n][^"\\]*+)*+')
"""The insides of JSON strings, a line for each. Half a surrogate pair is no string by itself, so it is left to the parser."""

_TEXT = msgspec.json.Decoder(str)


class Piece(msgspec.Struct, frozen=True, gc=False):
    """What one event adds in one place: a JSON string as it came, or all arguments of a call as an object, or nothing yet."""

    place: int
    raw: bytes = b""
    name: str = ""
    """Of the tool that is called, in the event that begins a call."""
    id: str = ""
    """Of the call, where the event has it."""


class Saying:
    """Puts together what a stream of one choice says; bounded by `MAX_SAID_BYTES`, beyond which nothing is kept.

    An event that repeats the frame of the one before, all but its piece, needs no parser. The frame begins behind an event
    and ends one, so no text can hold it, and equal bytes around a string are the same members around it: whatever was true of
    the event that it was learned from, but for the piece, is true of all that have it.
    """

    __slots__ = (
        "_before", "_given", "_head", "_ids", "_joint", "_names", "_num_behind", "_num_between", "_num_misses", "_pieces",
        "_place", "_room", "_tail", "is_lost",
    )  # fmt: skip

    def __init__(self) -> None:
        self._pieces: dict[int, bytearray] = {}
        self._names: dict[int, str] = {}
        self._ids: dict[int, str] = {}
        self._given: dict[int, bytes] = {}
        self._room = MAX_SAID_BYTES
        self._head = self._tail = self._joint = self._before = b""
        self._num_between = self._num_behind = 0
        self._place = TEXT
        self._num_misses = 0
        self.is_lost = False
        """Whether it can no longer be known what the stream says."""

    def take(self, lines: bytes) -> bytes:
        """Take in the events at the start of `lines` that have the frame last learned; gives back what stands behind them."""
        if not self._head or not lines.startswith(self._head):
            return lines
        pieces, rest = self._pieces_at_once(lines) or self._pieces_one_by_one(lines)
        if not pieces:
            return lines
        said = b"".join(pieces)
        if (b"\\" in said or b'"' in said) and _CLEAN.fullmatch(b"\n".join(pieces)) is None:
            return lines
        self._num_misses = 0
        self._append(self._place, said)
        return rest

    def _pieces_at_once(self, lines: bytes) -> tuple[list[bytes], bytes] | None:
        """The pieces of events that all have the frame; None where some have not.

        They are looked for by what stands before each in the frame, and are right if with it they make up the same bytes again.
        """
        if len(lines) < 2 * len(self._joint) or not lines.endswith(self._tail):  # one event is quicker by itself
            return None
        parts = lines.split(self._before)
        behind = self._num_between
        pieces = [part[:behind] for part in parts]
        pieces[-1] = parts[-1][: self._num_behind]
        del pieces[0]
        is_all = self._joint.join(pieces) == lines[len(self._head) : self._num_behind]
        return (pieces, b"") if is_all else None

    def _pieces_one_by_one(self, lines: bytes) -> tuple[list[bytes], bytes]:
        """The pieces of the first events, as far as these have the frame, and all that stands behind."""
        head, tail = self._head, self._tail
        pieces: list[bytes] = []
        at = 0
        while lines.startswith(head, at):
            start = at + len(head)
            end = lines.find(tail, start)
            if end < 0:
                break
            pieces.append(lines[start:end])
            at = end + len(tail)
        return pieces, lines[at:]

    def add(self, pieces: Sequence[Piece] | None) -> None:
        """Add what one event brought; None where that is not known."""
        if pieces is None:
            self.is_lost = True
            return
        for piece in pieces:
            place, raw = piece.place, piece.raw
            if place >= 0:
                self._names[place] = self._names.get(place, "") + piece.name
                if piece.id:
                    self._ids.setdefault(place, piece.id)
            if raw.startswith(b'"'):
                self._append(place, raw[1:-1])
            elif raw and place >= 0:
                self._given[place] = raw
                self._spend(len(raw))
            elif raw:
                self.is_lost = True  # a text that is no string

    def learn(self, lines: bytes, last: Sequence[Piece] | None, pieces_of: Callable[[bytes], Sequence[Piece] | None]) -> None:
        """Learn the frame of the last of these events, if what it brought, `last`, is a piece of a string and nothing else.

        `pieces_of` gives the pieces in a payload. Where the piece stands is tried out: another one is put in its place, and is
        to be found there.
        """
        if not last or len(last) > 1 or self._num_misses >= MAX_MISSES:
            return
        place, raw = last[0].place, last[0].raw
        if last[0].name or len(raw) <= len(b'""') or not raw.startswith(b'"'):  # an empty piece shows and counts for nothing
            return
        event = lines[lines.rfind(_END, 0, -2) + 2 :] if lines.count(_END) > 1 else lines
        line = event.rfind(b"\n", 0, -2) + 1
        if not event.endswith(_END) or event.find(_DATA) != line:
            return
        at = line + len(_DATA)
        self._num_misses += 1
        start = event.find(raw, at)
        before, behind = event[: start + 1], event[start + len(raw) - 1 :]
        if pieces_of(before[at:] + _PROBE[1:-1] + behind) == [Piece(place, _PROBE, "", last[0].id)]:
            self._place, self._head, self._tail, self._joint = place, before, behind, behind + before
            self._before = before[-MARK_BYTES:]
            self._num_behind, self._num_between = -len(behind), len(self._before) - len(self._joint)

    def heard(self) -> Heard | None:
        """What the stream has said; None where that is not known."""
        if self.is_lost:
            return None
        heard = Heard()
        try:
            heard.texts.append(self._text(TEXT))
            heard.reasoning.append(self._text(REASONING))
            for place, name in self._names.items():
                heard.add_call(self._ids.get(place), name, self._text(place) or self._given.get(place))
        except UNREADABLE:
            return None
        return heard

    def _text(self, place: int) -> str:
        return _TEXT.decode(b'"%b"' % bytes(self._pieces.get(place, b"")))

    def _append(self, place: int, said: bytes) -> None:
        pieces = self._pieces.get(place)
        if pieces is None:
            self._pieces[place] = bytearray(said)
        else:
            pieces += said
        self._spend(len(said))

    def _spend(self, num_bytes: int) -> None:
        self._room -= num_bytes
        if self._room < 0:
            self.is_lost = True
            self._pieces.clear()
