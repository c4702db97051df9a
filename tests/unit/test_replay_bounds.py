"""Bounds of the hit ratio, against brute force on tiny traces."""

import random
from array import array
from functools import cache as memo
from itertools import combinations

import pytest

from turnwise.proxy.replay.bounds import belady_hits, bounds, lru_hits
from turnwise.proxy.replay.trace import TraceCall


def call(*blocks, rest=1):
    return TraceCall(
        at_s=0.0, think_s=0.0, after=(), prompt_tokens=len(blocks) + rest, output_tokens=1, blocks=array("q", blocks)
    )


def paths(rng, count):
    """Calls over a random tree of prefixes: a node's blocks are those from the root to it."""
    parents = {1: 0}
    for node in range(2, 7):
        parents[node] = rng.randrange(0, node)
    calls = []
    for _ in range(count):
        node, path = rng.randint(1, 6), []
        while node:
            path.append(node)
            node = parents[node]
        calls.append(call(*reversed(path)))
    return calls


def most_hits(calls, num_blocks):
    """All that any eviction could have found: every set of blocks that may be kept after each call is tried."""

    @memo
    def best(number, held):
        if number == len(calls):
            return 0
        blocks = calls[number].blocks
        hits = next((count for count, block in enumerate(blocks) if block not in held), len(blocks))
        could_hold = sorted(held | set(blocks))
        keeps = combinations(could_hold, min(num_blocks, len(could_hold)))
        return hits + max(best(number + 1, frozenset(keep)) for keep in keeps)

    return best(0, frozenset())


def least_recent_hits(calls, num_blocks):
    """LRU as a list, most recent first; a sequence's head is more recent than its tail."""
    held, hits = [], 0
    for one in calls:
        hits += next((count for count, block in enumerate(one.blocks) if block not in held), len(one.blocks))
        held = [*one.blocks, *(block for block in held if block not in one.blocks)][:num_blocks]
    return hits


@pytest.mark.parametrize("seed", range(25))
def test_foresight_finds_what_the_best_of_all_evictions_finds(seed):
    rng = random.Random(seed)
    calls, num_blocks = paths(rng, 7), rng.randint(1, 4)
    assert belady_hits(calls, num_blocks, 1) == most_hits(calls, num_blocks)


@pytest.mark.parametrize("seed", range(25))
def test_the_pooled_cache_evicts_as_a_list_would(seed):
    rng = random.Random(seed)
    calls, num_blocks = paths(rng, 60), rng.randint(1, 5)
    assert lru_hits(calls, num_blocks, 1) == least_recent_hits(calls, num_blocks)
    assert lru_hits(calls, num_blocks, 1) <= belady_hits(calls, num_blocks, 1)


def test_bounds_are_shares_of_all_tokens_and_never_hold_a_whole_prompt():
    calls = [call(1, 2, rest=0), call(1, 2, rest=0)]
    found = bounds(calls, num_blocks=8, block_size=1)
    assert (found.pooled_lru, found.pooled_belady) == (0.25, 0.25)
