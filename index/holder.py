"""One slot of the block index: what one replica holds in one medium."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from turnwise.types import BlockHash

MAX_COPIES = 1 << 16
"""Blocks of one slot whose copies are counted, 8 MB of them: an engine has copies of what calls that raced on one beginning
computed at once. A copy that is not counted makes its block look gone when the first of the two goes: a miss, which is safe."""

HOLDER_BYTES = 100
"""Memory of one holder of one run."""

COPY_BYTES = 110
"""Memory of one block of which copies are counted."""


class Holder(msgspec.Struct):
    """One slot: its bit, its bound, and how many blocks it holds of each run, in order of arrival.

    `copies` has the blocks that the engine keeps more than once, with how often besides the first.
    """

    bit: int
    max_blocks: int
    num_blocks: int
    runs: dict[int, int]
    copies: dict[BlockHash, int]

    def gain(self, run_id: int, count: int) -> None:
        """Hold `count` more blocks of a run."""
        self.runs[run_id] = self.runs.get(run_id, 0) + count
        self.num_blocks += count

    @property
    def num_bytes(self) -> int:
        """Memory of what is noted for this slot."""
        return HOLDER_BYTES * len(self.runs) + COPY_BYTES * len(self.copies)

    def add_copies(self, blocks: Sequence[BlockHash]) -> None:
        """Count one more copy of each of `blocks`, which are held."""
        copies = self.copies
        for block in blocks:
            count = copies.get(block, 0)
            if count or len(copies) < MAX_COPIES:
                copies[block] = count + 1

    def without_copies(self, hashes: Sequence[BlockHash]) -> list[BlockHash]:
        """Take one copy of each of `hashes`; returns those that had none besides the first, and so are gone."""
        copies = self.copies
        gone: list[BlockHash] = []
        for block in hashes:
            count = copies.get(block, 0)
            if count > 1:
                copies[block] = count - 1
            elif count:
                del copies[block]
            else:
                gone.append(block)
        return gone

    def forget_copies(self, hashes: Sequence[BlockHash]) -> None:
        """Forget how often the slot holds each of `hashes`, which it holds no longer."""
        for block in hashes if self.copies else ():
            self.copies.pop(block, None)
