"""Hit ratios to measure placement by: all replicas' memory as one cache, which never has to choose where a call goes.

Least recently used is a yardstick, which placement may pass by leaving replicas to a few sessions; with foresight, nothing
finds more of these calls in this order.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence
from math import inf

import msgspec

from turnwise.engines.sim.fifo import BlockLru
from turnwise.proxy.replay.trace import TraceCall


class Bounds(msgspec.Struct, frozen=True):
    """Cached tokens over all prompt tokens, for calls in one given order and a cache as large as the fleet's together."""

    pooled_lru: float
    pooled_belady: float


def bounds(calls: Sequence[TraceCall], num_blocks: int, block_size: int) -> Bounds:
    """Both bounds for a pool of `num_blocks`; `calls` in the order in which they came."""
    total = sum(call.prompt_tokens for call in calls) or 1
    return Bounds(
        pooled_lru=lru_hits(calls, num_blocks, block_size) * block_size / total,
        pooled_belady=belady_hits(calls, num_blocks, block_size) * block_size / total,
    )


def lru_hits(calls: Sequence[TraceCall], num_blocks: int, block_size: int) -> int:
    """Blocks found by all calls in a cache that evicts what was used longest ago, the tail of a sequence first."""
    cache = BlockLru(num_blocks)
    hits = 0
    for call in calls:
        hits += cache.match(call.blocks[: _reusable(call, block_size)])
        cache.use(call.blocks[:num_blocks])
    return hits


def belady_hits(calls: Sequence[TraceCall], num_blocks: int, block_size: int) -> int:
    """Blocks found by all calls in a cache that evicts what is used again last of all, of one call's blocks the tail first."""
    next_uses = _next_uses(calls)
    held: dict[int, float] = {}
    # Entries of blocks used or evicted since are left in the heap: they no longer agree with `held`, and are skipped.
    furthest: list[tuple[float, int, int]] = []
    hits = 0
    for call, uses in zip(calls, next_uses, strict=True):
        reusable = _reusable(call, block_size)
        hits += next((count for count, block in enumerate(call.blocks[:reusable]) if block not in held), reusable)
        for depth, (block, use) in enumerate(zip(call.blocks, uses, strict=True)):
            held[block] = use
            heapq.heappush(furthest, (-use, -depth, block))
        while len(held) > num_blocks:
            use, _depth, block = heapq.heappop(furthest)
            if held.get(block) == -use:
                del held[block]
    return hits


def _next_uses(calls: Sequence[TraceCall]) -> list[array[float]]:
    """For each block of each call the number of the next call that has it, infinite where none has."""
    coming: dict[int, int] = {}
    found: list[array[float]] = []
    for number in range(len(calls) - 1, -1, -1):
        blocks = calls[number].blocks
        found.append(array("d", [coming.get(block, inf) for block in blocks]))
        coming.update(dict.fromkeys(blocks, number))
    found.reverse()
    return found


def _reusable(call: TraceCall, block_size: int) -> int:
    """Blocks that an engine may reuse: it computes at least the last token of a prompt."""
    return min(len(call.blocks), max(0, call.prompt_tokens - 1) // block_size)
