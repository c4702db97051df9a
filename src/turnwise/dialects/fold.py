"""A body folded: its list of turns, nearly all of its bytes, read in one pass and taken out, so that little is left to read."""

from __future__ import annotations

from itertools import accumulate
from operator import add
from typing import Any

import msgspec

from turnwise.types import Raw

_PLACE = b"[]"
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Fold(msgspec.Struct, frozen=True, gc=False):
    """The turns of a body, and where they stand in it; `rest` is the body with an empty list in their place."""

    name: str
    rest: bytes
    turns: list[Raw]
    """The raw turns, at least one."""
    starts: list[int]
    """Offset in the body at which each turn starts."""
    end: int
    """Offset just behind the last turn."""

    def is_of(self, values: dict[str, Raw]) -> bool:
        """Whether the turns are the member of a body whose folded rest has these values.

        An object deeper down may hold the same list under the same name; then the member itself is still in the rest.
        """
        value = values.get(self.name, b"")
        return len(value) == len(_PLACE) and bytes(value) == _PLACE

    def raw(self, document: bytes) -> memoryview:
        """The whole list, brackets included."""
        return memoryview(document)[self.starts[0] - 1 : self.end + 1]


class Folder:
    """Folds bodies whose turns are the list under `name`."""

    def __init__(self, name: str) -> None:
        self._name = name
        fields: list[tuple[str, Any]] = [("turns", list[msgspec.Raw])]
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            msgspec.defstruct("Turns", fields, rename={"turns": name}, gc=False)
        )
        self._key = b'"%b":' % name.encode()

    def fold(self, document: bytes) -> Fold | None:
        """Fold a body; None where it is not spelled as most clients do, or is no body at all.

        The decoder tells what the turns are but not where. They are looked for behind the first spelling of their name, one
        comma and at most one space apart, and compared there byte for byte; so what is cut out is one value, the same as the
        decoder's. `Fold.is_of` then tells whether it was the member.
        """
        try:
            turns: list[Raw] = self._decoder.decode(document).turns
        except _UNREADABLE:
            return None
        key = document.find(self._key)
        if not turns or key < 0:
            return None
        start = key + len(self._key)
        start += 2 if document[start : start + 1] == b" " else 1
        if document[start - 1 : start] != b"[":
            return None
        gap = 1 if document[start + len(turns[0]) + 1 : start + len(turns[0]) + 2] != b" " else 2
        # Hundreds of turns: each of these lines is one loop in C.
        ends_less_gaps = accumulate(map(len, turns), initial=start)
        starts = list(map(add, ends_less_gaps, range(0, gap * (len(turns) + 1), gap)))
        end = starts.pop() - gap
        if document[end : end + 1] != b"]" or not all(map(document.startswith, turns, starts)):
            return None
        return Fold(self._name, document[:start] + document[end:], turns, starts, end)
