"""What has been heard of one engine's sequence of batches: which comes next, and what an old one means. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from enum import StrEnum

import msgspec
from xxhash import xxh3_64_intdigest

from turnwise.events import EventBatch

REMEMBERED = 1024
"""Batches of which it is known what they said: some ten seconds of a busy engine, far more than a network delays one."""

MAX_GAPS = 64
"""Gaps given up that are remembered, so that what arrives of them late is known for what it is."""

_encode = msgspec.msgpack.Encoder().encode


class Mark(msgspec.Struct, frozen=True):
    """One batch: its sequence number, and a digest of all that it said, which tells the engine's processes apart."""

    sequence: int
    digest: int

    @classmethod
    def of(cls, batch: EventBatch) -> Mark:
        """The mark of `batch`; equal in every process that hears it."""
        return cls(batch.sequence, xxh3_64_intdigest(_encode(batch)))


class Standing(StrEnum):
    """What a batch is to those before it."""

    NEXT = "next"
    AHEAD = "ahead"
    """Something before it is missing."""
    REPEATED = "repeated"
    """Heard before, word for word."""
    LATE = "late"
    """Of a gap that was given up: what it would change has been dropped."""
    RESTARTED = "restarted"
    """Another process of the engine counts."""


class Sequencer:
    """The batches of one process of an engine, in their order.

    `last` is the mark of the last one taken, None where none is; `next` is the number that comes then, None where any will do.
    """

    def __init__(self, last: Mark | None = None) -> None:
        self.last = last
        self.next: int | None = 0 if last is None else last.sequence + 1
        self._digests: OrderedDict[int, int] = OrderedDict()
        if last is not None:
            self._digests[last.sequence] = last.digest
        self._gaps: deque[range] = deque(maxlen=MAX_GAPS)

    def standing(self, batch: EventBatch) -> Standing:
        """What `batch` is, heard now."""
        sequence, awaited = batch.sequence, self.next
        if awaited is None or sequence == awaited:
            return Standing.NEXT
        if sequence > awaited:
            return Standing.AHEAD
        digest = self._digests.get(sequence)
        if digest is not None:
            return Standing.REPEATED if digest == Mark.of(batch).digest else Standing.RESTARTED
        return Standing.LATE if any(sequence in gap for gap in self._gaps) else Standing.RESTARTED

    def take(self, batch: EventBatch) -> None:
        """Note that `batch`, which was the next, is in the index."""
        last = self.last = Mark.of(batch)
        self.next = last.sequence + 1
        self._digests[last.sequence] = last.digest
        if len(self._digests) > REMEMBERED:
            self._digests.popitem(last=False)

    def goes_on(self, kept: Sequence[EventBatch]) -> bool:
        """Whether `kept`, what the engine replays from the last batch on, begins with that batch."""
        return bool(kept) and Mark.of(kept[0]) == self.last

    def give_up(self, until: int) -> None:
        """What comes before `until` and was not heard is lost, and with it the worth of all that was taken."""
        if self.next is not None:
            self._gaps.append(range(self.next, until))
        self.last, self.next = None, until

    def forget(self, following: int | None = 0) -> None:
        """Begin anew, with `following`."""
        self.last, self.next = None, following
        self._digests.clear()
        self._gaps.clear()
