"""What the block index keeps besides its dict: runs of blocks that follow each other, and who holds how much of which run."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby, repeat
from typing import cast

import msgspec

from turnwise.index.masks import Interned
from turnwise.types import BlockHash

RUN_BITS = 32
"""Low bits of a block's value that number its run; the bits of its holders' slots lie above them."""

RUN_MASK = (1 << RUN_BITS) - 1

MAX_RUN_BLOCKS = 256
"""Longest run: what a run costs besides its blocks is then 1 to 2 bytes a block, and the search for one of its blocks 3 us."""


class BlockRun(msgspec.Struct, gc=False):
    """Consecutive blocks of one chain after `parent`, None at the head of a prompt.

    `num_held` of them are in the index under this run's number; the others have no holder any more, or came back in a later
    run. They stay while a block after them is held, since they tell which chain it belongs to.
    """

    parent: BlockHash | None
    blocks: array[int]
    num_held: int

    def back_from(self, block: BlockHash) -> Iterator[BlockHash]:
        """The blocks from `block` back to the first."""
        return cast("Iterator[BlockHash]", reversed(self.blocks[: self.blocks.index(block) + 1]))


class Holder(msgspec.Struct):
    """One slot: its bit, its bound, and how many blocks it holds of each run, in order of arrival."""

    bit: int
    max_blocks: int
    num_blocks: int
    runs: dict[int, int]

    def gain(self, run_id: int, count: int) -> None:
        """Hold `count` more blocks of a run."""
        self.runs[run_id] = self.runs.get(run_id, 0) + count
        self.num_blocks += count


class BlockRuns:
    """Blocks by hash: `values` has the number of a block's run and, above it, a bit for each holder.

    `extents` counts the blocks of each value: as each holds all blocks before those it holds, they lie side by side.
    """

    def __init__(self) -> None:
        self.values: dict[BlockHash, int] = {}
        self.extents: dict[int, int] = {}
        self._runs: dict[int, BlockRun] = {}
        self._free_runs = [1]
        self._interned = Interned()

    def run_of(self, block: BlockHash) -> BlockRun | None:
        """The run that `block` is held in."""
        return self._runs.get(self.values.get(block, 0) & RUN_MASK)

    def add(self, holder: Holder, hashes: Sequence[BlockHash], parent: BlockHash | None) -> None:
        """Add up to `MAX_RUN_BLOCKS` blocks in prompt order after `parent`."""
        values = self.values
        if parent is not None and self._continue_run(holder, hashes, parent):
            return
        run_id = self._free_runs[-1]
        fresh = holder.bit | run_id
        num_before = len(values)
        found = list(map(values.setdefault, hashes, repeat(fresh)))
        num_new = len(values) - num_before
        if num_new == len(hashes):
            self._begin_run(holder, hashes, parent)
        elif len(set(hashes)) == len(hashes):
            self._share(holder, hashes, found, parent, fresh)
        else:
            unique = list(dict.fromkeys(hashes))
            self._share(holder, unique, list(map(values.__getitem__, unique)), parent, fresh)

    def remove(self, holder: Holder, hashes: Sequence[BlockHash]) -> None:
        """Take out what `holder` holds of `hashes`."""
        values, bit = self.values, holder.bit
        before = after = count = 0
        for block in hashes:
            value = values.get(block, 0)
            if not value & bit:
                continue
            if value is not before:
                if count:
                    self._leave(holder, before, after, count)
                before, after, count = value, value ^ bit, 0
                if after > RUN_MASK:
                    after = self._interned(after)
            count += 1
            if after > RUN_MASK:
                values[block] = after
            else:
                del values[block]
        if count:
            self._leave(holder, before, after, count)

    def held_of(self, holder: Holder, run_id: int) -> list[BlockHash]:
        """The blocks of a run that `holder` holds, in prompt order."""
        get, either, both = self.values.get, holder.bit | RUN_MASK, holder.bit | run_id
        return [block for block in self._runs[run_id].blocks if get(block, 0) & either == both]  # type: ignore[call-overload, misc]

    def _continue_run(self, holder: Holder, hashes: Sequence[BlockHash], parent: BlockHash) -> bool:
        """Lengthen the run that ends with `parent`, as decoding does block by block; False where that cannot be."""
        values = self.values
        value = values.get(parent, 0)
        run = self._runs.get(value & RUN_MASK)
        if (
            run is None
            or run.blocks[-1] != parent
            or len(run.blocks) + len(hashes) > MAX_RUN_BLOCKS
            or not values.keys().isdisjoint(hashes)
        ):
            return False
        run_id = value & RUN_MASK
        own = holder.bit | run_id
        added = dict.fromkeys(hashes, value if value == own else self._interned(own))
        values.update(added)
        run.blocks.extend(added)
        run.num_held += len(added)
        self.extents[own] = self.extents.get(own, 0) + len(added)
        holder.gain(run_id, len(added))
        return True

    def _begin_run(self, holder: Holder, hashes: Sequence[BlockHash], parent: BlockHash | None) -> None:
        """Take the next free number for `hashes`, which are in the index under it already."""
        run_id = self._free_runs.pop()  # the first of the list is above all that were ever taken, and the last to be
        if not self._free_runs:
            self._free_runs.append(run_id + 1)
        self._runs[run_id] = BlockRun(parent=parent, blocks=array("Q", hashes), num_held=len(hashes))
        self.extents[holder.bit | run_id] = len(hashes)
        holder.gain(run_id, len(hashes))

    def _share(
        self, holder: Holder, hashes: Sequence[BlockHash], found: list[int], parent: BlockHash | None, fresh: int
    ) -> None:
        """Add `holder` to blocks of which some were known: `found` are their values, `fresh` where they were not."""
        values = self.values
        start = 0
        is_uniform = found.count(found[0]) == len(found)
        for value, count in [(found[0], len(found))] if is_uniform else _lengths(found):
            blocks = hashes if is_uniform else hashes[start : start + count]
            if value == fresh:
                own = holder.bit | self._free_runs[-1]
                if own != fresh:  # another gap was filled before this one
                    values.update(dict.fromkeys(blocks, own))
                self._begin_run(holder, blocks, parent)
            elif not value & holder.bit:
                both = self._interned(value | holder.bit)
                values.update(dict.fromkeys(blocks, both))
                left = self.extents[value] - count
                if left:
                    self.extents[value] = left
                else:
                    del self.extents[value]
                self.extents[both] = self.extents.get(both, 0) + count
                holder.gain(value & RUN_MASK, count)
            parent = blocks[-1]
            start += count

    def _leave(self, holder: Holder, before: int, after: int, count: int) -> None:
        """Account for `count` blocks of one run that `holder` no longer holds, and nobody does where it was the last."""
        # Engines evict block by block, so this is all in one place.
        extents, held = self.extents, holder.runs
        run_id = before & RUN_MASK
        left = extents[before] - count
        if left:
            extents[before] = left
        else:
            del extents[before]
        left = held[run_id] - count
        if left:
            held[run_id] = left
        else:
            del held[run_id]
        holder.num_blocks -= count
        if after > RUN_MASK:
            extents[after] = extents.get(after, 0) + count
            return
        run = self._runs[run_id]
        run.num_held = left = run.num_held - count
        if not left:
            del self._runs[run_id]
            self._free_runs.append(run_id)
            return
        blocks, values = run.blocks, self.values
        num_gone = len(blocks) - left
        if num_gone > 1 and values.keys().isdisjoint(blocks[-num_gone:]):
            del blocks[-num_gone:]
        while len(blocks) > left and values.get(blocks[-1], 0) & RUN_MASK != run_id:  # type: ignore[call-overload]  # hashes
            blocks.pop()


def _lengths(values: list[int]) -> Iterator[tuple[int, int]]:
    for value, alike in groupby(values):
        yield value, sum(1 for _ in alike)
