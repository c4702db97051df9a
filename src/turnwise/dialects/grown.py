"""Conversations that go on: a body read up to its new turns only, and what will be known of the next."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import overload

import msgspec

from turnwise.dialects.beginnings import Beginning, Beginnings, Place, Trail
from turnwise.dialects.frame import Frame
from turnwise.dialects.hints import newest
from turnwise.dialects.prompt import CHUNK_BYTES, num_pieces
from turnwise.turns import Breakpoint
from turnwise.types import PromptChain, Raw, SegmentKind

MOVING_TURNS = 4
"""Turns at the end of a conversation whose `cache_control` markers are expected to move: clients mark their newest two turns of
the user, which have turns of the assistant between them."""

MAX_UNMARKED_BYTES = 128 * 1024
"""How much of the turns that had a marker is kept with a beginning: a long system message."""


class GrownRaws(Sequence[Raw]):
    """Raw bytes of the segments of a prompt that goes on from a beginning.

    Those that were known are found in the body once somebody asks, which hardly anybody does.
    """

    __slots__ = ("_beginning", "_body", "_frame", "_new")

    def __init__(self, frame: tuple[Raw, ...], body: memoryview, beginning: Beginning, new: tuple[Raw, ...]) -> None:
        self._frame = frame
        self._body = body
        self._beginning = beginning
        self._new = new

    def __len__(self) -> int:
        return self._beginning.num_segments + len(self._new)

    @overload
    def __getitem__(self, at: int) -> Raw: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Raw, ...]: ...
    def __getitem__(self, at: int | slice) -> Raw | tuple[Raw, ...]:
        """One segment's bytes, or those of several."""
        num_known = self._beginning.num_segments
        if isinstance(at, slice):
            if at.stop is None and at.step is None and at.start is not None and at.start >= num_known:
                return self._new[at.start - num_known :]
            return tuple(map(self._at, range(*at.indices(len(self)))))
        return self._at(range(len(self))[at])

    def __iter__(self) -> Iterator[Raw]:
        return map(self._at, range(len(self)))

    def _at(self, position: int) -> Raw:
        beginning, num_before = self._beginning, len(self._frame)
        if position >= beginning.num_segments:
            return self._new[position - beginning.num_segments]
        if position < num_before:
            return self._frame[position]
        place, ends = beginning.place, beginning.chain.ends
        of_turns = position - num_before
        unmarked = place.unmarked.get(of_turns)
        if unmarked is not None:
            return unmarked
        start = place.starts[of_turns]
        return self._body[start : start + ends[position] - (ends[position - 1] if position else 0)]


class Growth(msgspec.Struct, frozen=True, gc=False):
    """A body that was read, all of its turns or those behind its known beginning: what may be remembered of it."""

    beginnings: Beginnings
    before: Beginning | None
    """What it goes on from."""
    trail: Trail
    frame: Frame
    given: Sequence[Raw]
    """The bytes in the body of the turns that were read."""
    raws: Sequence[Raw]
    """Those bytes less the `cache_control` markers."""
    starts: Sequence[int]
    """Offset in the body at which each of these turns starts."""
    marked: Collection[int]
    """Which of them have a marker."""
    breakpoints: tuple[Breakpoint, ...] = ()
    """Those of all turns."""

    def marked_by(self, further: tuple[Breakpoint, ...]) -> Growth:
        """This growth with the breakpoints of the turns that were read."""
        before = self.before
        known = () if before is None else before.place.breakpoints
        return msgspec.structs.replace(self, breakpoints=known + further)

    def keep(self, kinds: tuple[SegmentKind, ...], chain: PromptChain) -> None:
        """Remember what is new of it; `kinds` and `chain` are those of all segments of the prompt.

        Turns at the end that have a marker are left for the next time: it will have moved by then.
        """
        before, frame = self.before, self.frame
        num_turns = len(self.given)
        num_kept = num_turns
        if self.marked:
            num_kept = min((at for at in self.marked if at >= num_turns - MOVING_TURNS), default=num_turns)
        end = self.starts[num_kept - 1] + len(self.given[num_kept - 1])
        key = self.trail.key(end) if num_kept else None
        if key is None:
            return
        num_before = len(frame.kinds)
        if before is None:
            starts = array("I")
            unmarked: Mapping[int, bytes] = {}
        else:
            starts = before.place.starts[: before.num_segments - num_before]
            unmarked = before.place.unmarked
        if not self.marked and len(kinds) == num_before + len(starts) + num_turns:
            starts.extend(self.starts[:num_kept])
        else:
            unmarked = {**unmarked, **self._add_pieces(num_kept, starts)}
            if sum(map(len, unmarked.values())) > MAX_UNMARKED_BYTES:
                return
        num_known = num_kept + (0 if before is None else before.place.num_turns)
        num_segments = num_before + len(starts)
        breakpoints = self.breakpoints
        if breakpoints:
            breakpoints = newest(tuple(mark for mark in breakpoints if mark.segment < num_segments))
        place = Place(key, end, self.trail.digest(end), frame.digest, num_known, kinds, starts, unmarked, breakpoints)
        self.beginnings.keep(Beginning(place, chain, num_segments), before)

    def _add_pieces(self, num_turns: int, starts: array[int]) -> dict[int, bytes]:
        """Add where the pieces of the first turns stand to `starts`; gives the bytes of those that had a marker."""
        unmarked: dict[int, bytes] = {}
        for position in range(num_turns):
            raw, start = self.raws[position], self.starts[position]
            step = len(raw) if num_pieces(raw) == 1 else CHUNK_BYTES
            for at in range(0, len(raw), step):
                if position in self.marked:
                    unmarked[len(starts)] = bytes(memoryview(raw)[at : at + step])
                starts.append(start + at)
        return unmarked
