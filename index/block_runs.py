"""What the block index keeps besides its dict: runs of blocks that follow each other, and who holds how much of which run."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby, repeat
from typing import cast

import msgspec

from turnwise.index.holder import Holder
from turnwise.index.masks import Interned
from turnwise.types import BlockHash

RUN_BITS = 32
"""Low bits of a block's value that number its run; the bits of its holders' slots lie above them."""

RUN_MASK = (1 << RUN_BITS) - 1

UNKNOWN_PARENT = BlockHash(-1)
"""In place of a parent where nobody said which block comes before; no block has this hash."""

MAX_RUN_BLOCKS = 256
"""Longest run: what a run costs besides its blocks is then 1 to 2 bytes a block, and the search for one of its blocks 3 us."""


BLOCK_BYTES = 84
"""Memory of one block: an int of 32 bytes, 8 bytes in its run, and an entry in a dict that is between half and all full."""

RUN_BYTES = 300
"""Memory of one run besides its blocks and holders: its number, an array, a value, and an entry in two dicts."""


class BlockRun(msgspec.Struct, gc=False):
    """Consecutive blocks of one chain after `parent`, None at the head of a prompt.

    `num_held` of them are in the index under this run's number; the others have no holder any more, or came back in a later
    run. They stay while a block after them is held, since they tell which chain it belongs to.
    """

    parent: BlockHash | None
    blocks: array[int]
    num_held: int

    def back_from(self, block: BlockHash) -> list[BlockHash]:
        """The blocks from `block` back to the first."""
        part = cast("list[BlockHash]", self.blocks.tolist())
        if part[-1] != block:
            del part[part.index(block) + 1 :]
        part.reverse()
        return part


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

    @property
    def num_bytes(self) -> int:
        """Memory of all blocks and runs, by constants measured with tracemalloc on 0.1 and 0.3 M blocks in runs of 4 to 256."""
        return BLOCK_BYTES * len(self.values) + RUN_BYTES * len(self._runs)

    def run_of(self, block: BlockHash) -> BlockRun | None:
        """The run that `block` is held in."""
        return self._runs.get(self.values.get(block, 0) & RUN_MASK)

    def add(
        self, holder: Holder, hashes: Sequence[BlockHash], parent: BlockHash | None, *, counts_copies: bool = False
    ) -> None:
        """Add up to `MAX_RUN_BLOCKS` blocks in prompt order after `parent`; one that the holder has already may be a copy."""
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
            self._share(holder, hashes, found, parent, fresh, counts_copies=counts_copies)
        else:
            unique = list(dict.fromkeys(hashes))
            found = list(map(values.__getitem__, unique))
            self._share(holder, unique, found, parent, fresh, counts_copies=counts_copies)

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

    def parts(self, wanted: int) -> Iterator[tuple[int, BlockRun, list[tuple[int, int]]]]:
        """Every run with its number and, part by part, which bits of `wanted` its blocks have and how many blocks that is."""
        get = self.values.get
        for run_id, run in self._runs.items():
            found: list[int] = list(map(get, run.blocks, repeat(0)))  # type: ignore[arg-type]  # hashes
            lengths = [(found[0], len(found))] if found.count(found[0]) == len(found) else _lengths(found)
            yield run_id, run, [(value & wanted if value & RUN_MASK == run_id else 0, count) for value, count in lengths]

    def restore(self, parent: BlockHash | None, blocks: array[int], parts: Sequence[tuple[int, int]]) -> int:
        """Put back a run as `parts` gave it, with the bits of its holders now; returns its number.

        Raises `ValueError` where a block is held in another run already, or where `parts` are not of as many blocks.
        """
        run_id, values, start, num_held = self._take_number(), self.values, 0, 0
        num_before = len(values)
        for bits, count in parts:
            if bits:
                value = self._interned(bits | run_id)
                values.update(zip(cast("Sequence[BlockHash]", blocks[start : start + count]), repeat(value)))
                self.extents[value] = self.extents.get(value, 0) + count
                num_held += count
            start += count
        if start != len(blocks) or len(values) - num_before != num_held or not num_held:
            raise ValueError("a run of blocks that cannot be")
        self._runs[run_id] = BlockRun(parent=parent, blocks=blocks, num_held=num_held)
        return run_id

    def held_of(self, holder: Holder, run_id: int) -> list[BlockHash]:
        """The blocks of a run that `holder` holds, in prompt order."""
        get, either, both = self.values.get, holder.bit | RUN_MASK, holder.bit | run_id
        return [block for block in self._runs[run_id].blocks if get(block, 0) & either == both]  # type: ignore[call-overload, misc]

    def along(self, chain: Sequence[BlockHash], start: int, end: int, holders: Sequence[Holder]) -> list[int]:
        """How many blocks of `chain[start:end]`, without a gap from `start` on, each holder has that none before it has.

        A run that a holder has whole, and none before it has in part, is passed at once: exact, and a microsecond for some
        hundred blocks.
        """
        get = self.values.get
        wanted = sum(holder.bit for holder in holders)
        counts = [0] * len(holders)
        at = start
        while at < end:
            value = get(chain[at], 0)
            if not value & wanted:
                break
            run_id = value & RUN_MASK
            blocks = self._runs[run_id].blocks
            whole = next((index for index, holder in enumerate(holders) if value & holder.bit), 0)
            is_alone = not any(run_id in holder.runs for holder in holders[:whole])
            if is_alone and holders[whole].runs[run_id] == len(blocks):
                first = 0 if blocks[0] == chain[at] else blocks.index(chain[at])
                length = min(len(blocks) - first, end - at)
                # Equal hashes here mean that all before them is equal too.
                if blocks[first + length - 1] == chain[at + length - 1]:
                    counts[whole] += length
                    at += length
                    continue
            counts[whole] += 1
            at += 1
        return counts

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
        num_before = len(values)
        # A dict takes them in so in half the time that it takes to be updated by another.
        list(map(values.setdefault, hashes, repeat(value if value == own else self._interned(own))))
        count = len(values) - num_before
        run.blocks += array("Q", hashes if count == len(hashes) else dict.fromkeys(hashes))
        run.num_held += count
        self.extents[own] = self.extents.get(own, 0) + count
        holder.gain(run_id, count)
        return True

    def _begin_run(self, holder: Holder, hashes: Sequence[BlockHash], parent: BlockHash | None) -> None:
        """Take the next free number for `hashes`, which are in the index under it already."""
        run_id = self._take_number()
        self._runs[run_id] = BlockRun(parent=parent, blocks=array("Q", hashes), num_held=len(hashes))
        self.extents[holder.bit | run_id] = len(hashes)
        holder.gain(run_id, len(hashes))

    def _take_number(self) -> int:
        run_id = self._free_runs.pop()  # the first of the list is above all that were ever taken, and the last to be
        if not self._free_runs:
            self._free_runs.append(run_id + 1)
        return run_id

    def _share(
        self,
        holder: Holder,
        hashes: Sequence[BlockHash],
        found: list[int],
        parent: BlockHash | None,
        fresh: int,
        *,
        counts_copies: bool,
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
                self._learn_parent(value & RUN_MASK, blocks[0], parent)
            elif counts_copies:
                holder.add_copies(blocks)
            parent = blocks[-1]
            start += count

    def _learn_parent(self, run_id: int, first: BlockHash, parent: BlockHash | None) -> None:
        """Now that somebody says which block comes before `first`, so does its run, if nobody had."""
        run = self._runs[run_id]
        if run.parent == UNKNOWN_PARENT and run.blocks[0] == first:
            run.parent = parent

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
