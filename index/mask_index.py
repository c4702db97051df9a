"""Confirmed residency: the blocks that engines say they hold, for every slot of one hash domain."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import cast

import msgspec

from turnwise.index.block_runs import MAX_RUN_BLOCKS, RUN_BITS, BlockRuns
from turnwise.index.counts import Counts
from turnwise.index.holder import Holder
from turnwise.index.masks import reaches, slots_of
from turnwise.index.states import BlocksState, RunState, SlotState
from turnwise.types import BlockHash

VERIFY_STRIDE = 64
"""Every how many blocks the winner of a look-up is checked."""

CLOSELY_VERIFIED_BLOCKS = 2048
"""Chain for which that is so, some 32,000 tokens; one that is so many times as long is checked at so many times the stride. So
32 look-ups verify any chain, each 0.3 us where nothing of it is in the caches."""

MAX_WALK_BLOCKS = 1 << 17
"""Longest chain walked: 2 M tokens at 16 a block."""

_MAX_EVICTED_AT_ONCE = 1024
_reach_of = itemgetter(1)


class Walk(msgspec.Struct, frozen=True, gc=False):
    """A walk from a block towards the head of its chain.

    `blocks` lie after `stop` in prompt order; `stop` is None where the walk reached the head. `is_whole` is False where it met
    a block of which nothing is known: the head of this chain was never seen or is gone.
    """

    blocks: list[BlockHash]
    stop: BlockHash | None
    is_whole: bool


class MaskIndex:
    """Blocks by hash, with their holders and their parents, and for each slot in order of arrival.

    One dict entry a block: its value is the number of its run and, above it, one bit a holder; the blocks of an event share one
    such int. About 85 bytes for a block whoever holds it, and a few for each further holder of a run. Each slot has a bound:
    past it, its oldest blocks go, since only lost removal events lead there. `verify_stride` 0 verifies nothing.
    """

    def __init__(self, counts: Counts, verify_stride: int = VERIFY_STRIDE) -> None:
        self.verify_stride = verify_stride
        self._counts = counts
        self._runs = BlockRuns()
        self._holders: dict[int, Holder] = {}
        self._retired: dict[int, Holder] = {}
        self._free_slots: list[int] = []

    def open_slot(self, max_blocks: int) -> int:
        """Take a slot that may hold `max_blocks` blocks."""
        slot = self._free_slots.pop() if self._free_slots else len(self._holders) + len(self._retired)
        self._holders[slot] = Holder(bit=1 << (slot + RUN_BITS), max_blocks=max_blocks, num_blocks=0, runs={}, copies={})
        return slot

    def retire_slot(self, slot: int) -> None:
        """Forget a slot at once; `sweep` cleans up after it, and only then can its number come again."""
        self._retired[slot] = self._holders.pop(slot)

    def bound(self, slot: int, max_blocks: int) -> None:
        """Let a slot hold `max_blocks` from its next blocks on."""
        self._holders[slot].max_blocks = max_blocks

    def num_blocks(self, slot: int) -> int:
        """Blocks that `slot` holds."""
        return self._holders[slot].num_blocks

    def num_copies(self, slot: int) -> int:
        """Copies that `slot` holds of its blocks besides the first of each."""
        return sum(self._holders[slot].copies.values())

    @property
    def num_unique_blocks(self) -> int:
        """Blocks that any slot holds, those not yet swept included."""
        return len(self._runs.values)

    @property
    def num_bytes(self) -> int:
        """Memory of all blocks and of who holds them, within a quarter of what is measured."""
        holders = (*self._holders.values(), *self._retired.values())
        return self._runs.num_bytes + sum(holder.num_bytes for holder in holders)

    @property
    def largest(self) -> int:
        """Blocks of the slot that holds most."""
        return max((holder.num_blocks for holder in self._holders.values()), default=0)

    def evict_largest(self, count: int) -> int:
        """Forget up to `count` of the oldest blocks of the slot that holds most; returns how many, or 1 where there is none."""
        holder = max(self._holders.values(), key=lambda holder: holder.num_blocks, default=None)
        return max(1, 0 if holder is None else self._evict(holder, count))

    def store(self, slot: int, hashes: Sequence[BlockHash], parent: BlockHash | None, *, counts_copies: bool = False) -> None:
        """Add blocks in prompt order; `parent` is the block before the first, None at the head of a prompt.

        Where `counts_copies`, a block that the slot holds already is one more copy, and `remove` takes a copy first.
        """
        holder = self._holders[slot]
        if len(hashes) <= MAX_RUN_BLOCKS:
            if hashes:
                self._runs.add(holder, hashes, parent, counts_copies=counts_copies)
        else:
            for start in range(0, len(hashes), MAX_RUN_BLOCKS):
                before = hashes[start - 1] if start else parent
                self._runs.add(holder, hashes[start : start + MAX_RUN_BLOCKS], before, counts_copies=counts_copies)
        excess = holder.num_blocks - holder.max_blocks
        if excess > 0:
            # In batches, since each look at a dict's oldest keys passes over the graves of those deleted before; small ones,
            # since streams wait meanwhile.
            self._evict(holder, excess + min(_MAX_EVICTED_AT_ONCE, holder.max_blocks // 128))

    def remove(self, slot: int, hashes: Sequence[BlockHash]) -> None:
        """Take one copy of each block, and so the block where it was the only one; unknown ones are ignored."""
        holder = self._holders[slot]
        self._runs.remove(holder, holder.without_copies(hashes) if holder.copies else hashes)

    def holds(self, slot: int, block: BlockHash) -> bool:
        """Whether `slot` holds a block."""
        return self._runs.values.get(block, 0) & self._holders[slot].bit != 0

    def depths(self, chain: array[int], num_blocks: int, wanted: int) -> dict[int, int]:
        """Number of leading blocks of `chain[:num_blocks]` that each slot of mask `wanted` holds, where it is above zero.

        The deepest are verified at a stride against their own blocks; where a hole shows, their depth is what lies before it.
        """
        blocks = cast("Sequence[BlockHash]", chain)
        groups = reaches(self._runs.values, blocks, num_blocks, wanted << RUN_BITS, self._runs.extents)
        if self.verify_stride:
            groups = self._verified(groups, blocks)
        found: dict[int, int] = {}
        for mask, depth in reversed(groups):  # the shallowest are the most where a beginning is shared
            if mask.bit_count() == 1:
                found[mask.bit_length() - 1 - RUN_BITS] = depth
            elif found:
                found.update(dict.fromkeys(slots_of(mask >> RUN_BITS), depth))
            else:
                found = dict.fromkeys(slots_of(mask >> RUN_BITS), depth)
        return found

    def along(self, chain: array[int], start: int, end: int, slots: Sequence[int]) -> list[int]:
        """How many blocks of `chain[start:end]`, without a gap from `start` on, each slot has that none before it has."""
        return self._runs.along(cast("Sequence[BlockHash]", chain), start, end, [self._holders[slot] for slot in slots])

    def between(self, after: BlockHash, last: BlockHash) -> Sequence[BlockHash] | None:
        """What a walk from `last` that stops at `after` gives, where one run tells it; None where it must be walked."""
        run = self._runs.run_of(last)
        if run is None:
            return None
        blocks, start = cast("Sequence[BlockHash]", run.blocks), 0
        if run.parent != after:
            if self._runs.run_of(after) is not run:
                return None
            start = blocks.index(after) + 1
        end = len(blocks) if blocks[-1] == last else blocks.index(last) + 1
        return blocks[start:end] if start <= end else None

    def walk(self, last: BlockHash, stops: Iterable[BlockHash]) -> Walk:
        """Walk parents from `last` to the head of its chain, or to the first block in `stops`.

        Whoever holds them: a hash covers all before it, so all holders of a block know the same parent.
        """
        blocks: list[BlockHash] = []
        block: BlockHash | None = last
        ends = frozenset(stops)
        passed: set[int] = set()
        while block is not None and block not in ends and len(blocks) < MAX_WALK_BLOCKS:
            run = self._runs.run_of(block)
            if run is None or id(run) in passed:
                break  # nothing is known of it, or parents that cannot be true lead back to it
            passed.add(id(run))
            part, block = run.back_from(block), run.parent
            met = ends.intersection(part)
            if met:
                count = min(map(part.index, met))
                block = part[count]
                del part[count:]
            blocks += part
        blocks.reverse()
        return Walk(blocks=blocks, stop=block, is_whole=block is None or block in ends)

    def sweep(self, max_blocks: int) -> int:
        """Clean up after retired slots, `max_blocks` blocks at most; returns how many of them were not spent."""
        while self._retired and max_blocks > 0:
            slot, holder = next(iter(self._retired.items()))
            num_before = holder.num_blocks
            if num_before:
                # Taken from the end, where a dict leaves no graves; put back for what this slice leaves of it.
                run_id, count = holder.runs.popitem()
                holder.runs[run_id] = count
                self._runs.remove(holder, self._runs.held_of(holder, run_id)[:max_blocks])
            if not holder.num_blocks:
                del self._retired[slot]
                self._free_slots.append(slot)
            max_blocks -= max(1, num_before - holder.num_blocks)
        return max_blocks

    def state(self, slots: Sequence[int]) -> BlocksState:
        """What `slots` hold, to be written down; they are known by their places from then on."""
        holders = [self._holders[slot] for slot in slots]
        numbers: dict[int, int] = {0: 0}
        places: dict[int, int] = {}
        runs: list[RunState] = []
        for run_id, run, parts in self._runs.parts(sum(holder.bit for holder in holders)):
            numbered = tuple([(numbers.setdefault(bits, len(numbers)), count) for bits, count in parts])
            if any(number for number, _ in numbered):
                places[run_id] = len(runs)
                runs.append(RunState(run.parent, run.blocks.tobytes(), numbered))
        return BlocksState(
            slots=tuple(
                SlotState(array("I", map(places.__getitem__, holder.runs)).tobytes(), holder.copies) for holder in holders
            ),
            holders=tuple(tuple(place for place, holder in enumerate(holders) if bits & holder.bit) for bits in numbers),
            runs=runs,
        )

    def restore(self, state: BlocksState, max_blocks: int) -> list[int]:
        """Take in what was written down, into an index that holds nothing; returns the slots by their places.

        Raises `ValueError`, `IndexError` or `KeyError` where it contradicts itself.
        """
        slots = [self.open_slot(max_blocks) for _ in state.slots]
        holders = [self._holders[slot] for slot in slots]
        bits = [sum(holders[place].bit for place in places) for places in state.holders]
        counts: list[dict[int, int]] = [{} for _ in slots]
        numbers: list[int] = []
        for run in state.runs:
            blocks = array("Q", run.blocks)
            run_id = self._runs.restore(run.parent, blocks, [(bits[number], count) for number, count in run.parts])
            numbers.append(run_id)
            for number, count in run.parts:
                for place in state.holders[number]:
                    counts[place][run_id] = counts[place].get(run_id, 0) + count
        for holder, slot, held in zip(holders, state.slots, counts, strict=True):
            holder.runs = {run_id: held[run_id] for run_id in map(numbers.__getitem__, array("I", slot.runs))}
            holder.num_blocks = sum(held.values())
            holder.copies = slot.copies
            if holder.runs.keys() != held.keys():
                raise ValueError("a slot that does not know its runs")
        return slots

    @property
    def has_retired(self) -> bool:
        """Whether a retired slot waits for `sweep`."""
        return bool(self._retired)

    def _evict(self, holder: Holder, count: int) -> int:
        oldest: list[BlockHash] = []
        for run_id in holder.runs:
            oldest += self._runs.held_of(holder, run_id)
            if len(oldest) >= count:
                break
        del oldest[count:]
        holder.forget_copies(oldest)
        self._runs.remove(holder, oldest)
        self._counts.num_evicted_blocks += len(oldest)
        return len(oldest)

    def _verified(self, groups: list[tuple[int, int]], chain: Sequence[BlockHash]) -> list[tuple[int, int]]:
        """`groups`, deepest first, with those who have a hole no deeper than it, as far as the deepest goes."""
        while groups:
            mask, depth = groups[0]
            hole = self._first_hole(mask, depth, chain)
            if hole is None:
                break
            lost, solid = hole
            self._counts.num_holes += lost.bit_count()
            groups = [(some, reach) for some, reach in ((mask ^ lost, depth), *groups[1:], (lost, solid)) if some and reach]
            groups.sort(key=_reach_of, reverse=True)
        return groups

    def _first_hole(self, mask: int, depth: int, chain: Sequence[BlockHash]) -> tuple[int, int] | None:
        """Who of `mask` lacks a block of the first `depth`, checked at the stride, and how many they hold before it."""
        stride, get = self.verify_stride * (1 + depth // CLOSELY_VERIFIED_BLOCKS), self._runs.values.get
        checked = 0
        same: int | None = 0
        for value in map(get, chain[:depth:stride]):
            if value is not same:
                if value is None or value & mask != mask:
                    break
                same = value
            checked += stride
        else:
            return None
        start = max(0, checked - stride + 1)
        return next((lost, index) for index in range(start, checked + 1) if (lost := mask & ~get(chain[index], 0)))
