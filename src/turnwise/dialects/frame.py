"""What a body says beside its turns: clients say the same with every call of a program, so it is read once and remembered."""

from __future__ import annotations

from typing import Protocol

import msgspec
from xxhash import xxh3_128_digest

from turnwise.dialects.body import Body
from turnwise.dialects.fold import PLACE
from turnwise.dialects.splice import Splice
from turnwise.turns import NO_HINTS, Hints
from turnwise.types import Raw, SegmentKind

MAX_FRAMES = 512
"""Frames remembered. A client has a handful; those that never come again make room together."""

MAX_FRAME_BYTES = 16 * 1024
"""Longest frame remembered, so that all of them take 8 MiB at most; hashing a longer one costs as much as reading it."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """What a dialect understood of a body but for its turns; fields of one name mean what they mean in `ReadCall`.

    `root`, `kinds` and `raws` are the prompt up to its first turn.
    """

    model: str
    root: bytes
    kinds: tuple[SegmentKind, ...]
    raws: tuple[Raw, ...]
    is_stream: bool
    num_choices: int = 1
    max_tokens: int | None = None
    unhashed_bytes: int = 0
    continues: tuple[str, ...] = ()
    is_stored: bool = False
    splice: Splice | None = None
    """What asks the stream for its usage, at offsets of the folded body; None where nothing is to be spliced in."""
    asks_report: bool = False
    hints: Hints = NO_HINTS
    digest: bytes = b""
    """Equal for frames whose prompts agree up to their first turn; `Frames` give it."""


class ReadFrame(Protocol):
    """How a dialect reads a body but for its turns."""

    def __call__(self, body: Body, *, splice_usage: bool) -> Frame:
        """The frame of a body, folded or not; raises `ClientFault` naming the field that is wrong."""


class Frames:
    """Frames of bodies whose turns are the member `name`, each read by `read` once while it is remembered."""

    def __init__(self, name: str, read: ReadFrame, *, splice_usage: bool) -> None:
        self._name = name
        self._read = read
        self._splice_usage = splice_usage
        self.known: dict[bytes, Frame] = {}
        """Frames by the folded body that they were read from; what is not among them is to be read."""

    def learn(self, rest: bytes) -> Frame | None:
        """Read a folded body; None where what was cut out of it is not its turns. Raises `ClientFault` as `read` does."""
        body = Body(rest)
        if bytes(body.values.get(self._name, b"")) != PLACE:
            return None
        frame = self._read(body, splice_usage=self._splice_usage)
        frame = msgspec.structs.replace(frame, digest=_digest(frame))
        if len(rest) <= MAX_FRAME_BYTES:
            if len(self.known) >= MAX_FRAMES:
                self.known.clear()
            self.known[rest] = frame
        return frame


def _digest(frame: Frame) -> bytes:
    parts = (frame.root, *(kind.value.encode() for kind in frame.kinds), *frame.raws)
    digest: bytes = xxh3_128_digest(b"".join((b",".join(b"%d" % len(part) for part in parts), b":", *parts)))
    return digest
