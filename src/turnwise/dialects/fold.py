"""A body folded: its list of turns, nearly all of its bytes, read in one pass and taken out, so that little is left to read."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.types import Raw

PLACE = b"[]"
"""What stands in a folded body for its turns."""

HEAD_BYTES = 20
"""Length of a turn's beginning, by which it is known: that of `{"role": "assistant"`."""

_SPACE, _BRACKET = b" ["
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Fold(msgspec.Struct, frozen=True, gc=False):
    """The turns of a body, and where they stand in it; `rest` is the body with an empty list in their place."""

    rest: bytes
    turns: list[Raw]
    """The raw turns, at least one."""
    starts: list[int]
    """Offset in the body at which each turn starts."""
    heads: list[bytes]
    """The first `HEAD_BYTES` of each turn, or what stands behind a shorter one too."""
    end: int
    """Offset just behind the last turn."""


class Folder:
    """Folds bodies whose turns are the list under `name`."""

    def __init__(self, name: str) -> None:
        fields: list[tuple[str, Any]] = [("turns", list[msgspec.Raw])]
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            msgspec.defstruct("Turns", fields, rename={"turns": name}, gc=False)
        )
        self._decode = decoder.decode
        self._key = b'"%b":' % name.encode()
        self._key_bytes = len(self._key)

    def fold(self, document: bytes) -> Fold | None:
        """Fold a body; None where it is not spelled as most clients do, or is no body at all.

        The decoder tells what the turns are but not where. They are looked for behind the first spelling of their name, one
        comma and at most one space apart, and compared there byte for byte; so what is cut out is one value, the same as the
        decoder's. It was the member itself if the rest has an empty list under that name: an object deeper down may hold the
        same turns, but then the member is still in the rest. Where the list was cut is the same for all bodies of one rest.
        """
        try:
            turns: list[Raw] = self._decode(document).turns
        except _UNREADABLE:
            return None
        key = document.find(self._key)
        if key < 0 or not turns:
            return None
        start = key + self._key_bytes
        start += 2 if document[start] == _SPACE else 1
        if document[start - 1] != _BRACKET:
            return None
        first_end = start + len(turns[0])
        gap = 2 if document[first_end : first_end + 2] == b", " else 1
        starts: list[int] = []
        heads: list[bytes] = []
        at = start
        for turn in turns:
            if not document.startswith(turn, at):
                return None
            starts.append(at)
            heads.append(document[at : at + HEAD_BYTES])
            at += len(turn) + gap
        end = at - gap
        if document[end : end + 1] != b"]":
            return None
        return Fold(document[:start] + document[end:], turns, starts, heads, end)
