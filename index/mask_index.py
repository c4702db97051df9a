"""Confirmed residency: the blocks that engines say they hold, for every slot of one hash domain."""

from __future__ import annotations

from array import array
from collections.abc import Container, Sequence
from itertools import chain as concat
from itertools import islice
from operator import itemgetter

import msgspec

from turnwise.index.counts import Counts
from turnwise.index.masks import Masks, slots_of
from turnwise.types import BlockHash

VERIFY_STRIDE = 64
"""Every how many blocks the winner of a look-up is checked: 10,000 blocks in about 10 us."""

MAX_WALK_BLOCKS = 1 << 17
"""Longest chain walked (2 M tokens at 16 a block): two hashes that collide could close a circle."""

_MAX_EVICTED_AT_ONCE = 4096
_UNSEEN = BlockHash(-1)
_depth_of = itemgetter(1)


class Walk(msgspec.Struct, frozen=True, gc=False):
    """A walk from a block towards the head of its chain.

    `blocks` lie after `stop` in prompt order; `stop` is None where the walk reached the head. `is_whole` is False where it met
    a block that nobody holds: the head of this chain was never seen or is gone.
    """

    blocks: list[BlockHash]
    stop: BlockHash | None
    is_whole: bool


class MaskIndex:
    """Blocks by hash, for each slot in order of arrival and with their parents.

    Costs about 130 bytes for a block with one holder and 90 for each further one. Each slot has a bound: past it, its oldest
    blocks go, since only lost removal events lead there.
    """

    def __init__(self, counts: Counts, verify_stride: int = VERIFY_STRIDE) -> None:
        self._counts = counts
        self._stride = verify_stride
        self._masks: Masks[BlockHash] = Masks()
        self._held: dict[int, dict[BlockHash, BlockHash | None]] = {}
        self._max_blocks: dict[int, int] = {}

    def open_slot(self, max_blocks: int) -> int:
        """Take a slot that may hold `max_blocks` blocks."""
        slot = self._masks.open_slot()
        self._held[slot] = {}
        self._max_blocks[slot] = max_blocks
        return slot

    def retire_slot(self, slot: int) -> None:
        """Forget a slot at once; `sweep` cleans up after it, and only then can its number come again."""
        del self._max_blocks[slot]
        self._masks.retire_slot(slot, self._held.pop(slot))

    def num_blocks(self, slot: int) -> int:
        """Blocks that `slot` holds."""
        return len(self._held[slot])

    @property
    def num_unique_blocks(self) -> int:
        """Blocks that any slot holds, those not yet swept included."""
        return len(self._masks)

    def store(self, slot: int, hashes: Sequence[BlockHash], parent: BlockHash | None) -> None:
        """Add blocks in prompt order; `parent` is the block before the first, None at the head of a prompt."""
        held = self._held[slot]
        self._masks.mark(hashes, slot)
        held.update(zip(hashes, concat((parent,), hashes), strict=False))
        excess = len(held) - self._max_blocks[slot]
        if excess > 0:
            self._evict(slot, excess)

    def remove(self, slot: int, hashes: Sequence[BlockHash]) -> None:
        """Take blocks out; unknown ones are ignored."""
        held = self._held[slot]
        self._masks.unmark(hashes, slot)
        for block in hashes:
            held.pop(block, None)

    def depths(self, chain: array[int], num_blocks: int, wanted: int) -> list[tuple[int, int]]:
        """Pairs of slot and number of leading blocks of `chain[:num_blocks]` it holds, for slots of mask `wanted` above zero.

        The deepest is verified at a stride against its own blocks; where a hole shows, its depth is what lies before it.
        """
        groups = self._masks.depths(chain, num_blocks, wanted)  # type: ignore[arg-type]  # an array of block hashes
        pairs = [(slot, depth) for mask, depth in groups for slot in slots_of(mask)]
        # Once around where nothing is wrong; a hole may make another the deepest, which is then looked at in turn.
        for _ in range(len(pairs)):
            deepest = max(pairs, key=_depth_of)
            slot, depth = deepest
            solid = self._solid_depth(slot, chain, depth)
            if solid == depth:
                break
            self._counts.num_holes += 1
            pairs[pairs.index(deepest)] = (slot, solid)
        return pairs

    def walk(self, slot: int, last: BlockHash, stops: Container[BlockHash]) -> Walk:
        """Walk parents from `last` to the head of its chain, or to the first block in `stops`.

        Where `slot` has lost a block, any other holder of it knows the same parent, since a hash covers all before it.
        """
        held = self._held[slot]
        blocks: list[BlockHash] = []
        block: BlockHash | None = last
        for _ in range(MAX_WALK_BLOCKS):
            if block is None or block in stops:
                break
            parent = held.get(block, _UNSEEN)
            if parent is _UNSEEN:
                parent = self._parent_elsewhere(block)
                if parent is _UNSEEN:
                    break
            blocks.append(block)
            block = parent
        blocks.reverse()
        return Walk(blocks=blocks, stop=block, is_whole=block is None or block in stops)

    def sweep(self, max_blocks: int) -> int:
        """Clean up after retired slots, `max_blocks` blocks at most; returns how many of them were not spent."""
        return self._masks.sweep(max_blocks)

    @property
    def has_retired(self) -> bool:
        """Whether a retired slot waits for `sweep`."""
        return self._masks.has_retired

    def _solid_depth(self, slot: int, chain: array[int], depth: int) -> int:
        held = self._held[slot]
        for start in range(0, depth, self._stride):
            if chain[start] not in held:
                low = max(0, start - self._stride)
                return next(index for index in range(low, start + 1) if chain[index] not in held)
        return depth

    def _parent_elsewhere(self, block: BlockHash) -> BlockHash | None:
        for slot in slots_of(self._masks.holders(block)):
            if slot in self._held:
                return self._held[slot][block]
        return _UNSEEN

    def _evict(self, slot: int, excess: int) -> None:
        # In batches: each look at a dict's oldest keys passes over the graves of those deleted before, so one at a time
        # would be quadratic.
        held = self._held[slot]
        count = excess + min(_MAX_EVICTED_AT_ONCE, self._max_blocks[slot] // 16)
        oldest = list(islice(held, count))
        self.remove(slot, oldest)
        self._counts.num_evicted_blocks += len(oldest)
