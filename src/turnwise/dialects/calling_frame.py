"""Events that differ from the one before in a piece of a call's arguments alone, which need no parser."""

from __future__ import annotations

import msgspec

from turnwise.dialects.answer import UNREADABLE

Place = int | str
"""Where a call stands among those of its choice, as the API counts or names them."""

Said = tuple[int, Place, str]
"""Choice, place, and a piece of arguments, of an event that says nothing else."""

PROBE = "turnwise"

_TEXT = msgspec.json.Decoder(str)


class Frame:
    """What stands around the piece in an event of its own; whatever is equal around another string says the same of that."""

    __slots__ = ("_head", "_tail", "choice", "has_met", "place")

    def __init__(self, head: bytes, tail: bytes, choice: int, place: Place) -> None:
        self._head = head
        self._tail = tail
        self.choice = choice
        self.place = place
        self.has_met = False
        """Whether any event fitted."""

    @classmethod
    def around(cls, event: bytes, said: Said) -> Frame | None:
        """The frame of an event that said this; None where the piece stands there twice, or is spelled in another way."""
        choice, place, text = said
        try:
            head, _, tail = event.partition(msgspec.json.encode(text))
        except UnicodeEncodeError:  # half a surrogate pair
            return None
        return cls(head, tail, choice, place) if tail and event.count(tail, len(head)) == 1 else None

    def probe(self) -> bytes:
        """An event that should say `PROBE` there, if the frame is right."""
        return b'%b"%b"%b' % (self._head, PROBE.encode(), self._tail)

    def piece(self, event: bytes) -> str | None:
        """What an event says; None where it has another frame, or more than one string there."""
        if not (event.startswith(self._head) and event.endswith(self._tail)):
            return None
        try:
            text = _TEXT.decode(event[len(self._head) : -len(self._tail)])
        except UNREADABLE:
            return None
        self.has_met = True
        return text


class Recorder:
    """Hears what a probe says."""

    def __init__(self) -> None:
        self.said_all: list[tuple[object, ...]] = []

    def began(self, choice: int, place: Place, call_id: str, name: str) -> None:
        """See `Hearer.began`."""
        self.said_all.append((choice, place, call_id, name))

    def said(self, choice: int, place: Place, call_id: str, name: str, text: str, now: float) -> None:
        """See `Hearer.said`."""
        self.said_all.append((choice, place, now, call_id, name, text))

    def closed(
        self, choice: int, place: Place, now: float, *, text: str | None = None, call_id: str = "", name: str = ""
    ) -> None:
        """See `Hearer.closed`."""
        self.said_all.append((choice, place, now, text, call_id, name))

    def cut(self, choice: int, place: Place, now: float) -> None:
        """See `Hearer.cut`."""
        self.said_all.append((choice, place, now))

    def is_probe(self, choice: int, place: Place) -> bool:
        """Whether the probe was heard there, and nothing else."""
        return self.said_all == [(choice, place, 0.0, "", "", PROBE)]
