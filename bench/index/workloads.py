"""What is stored before a look-up is timed, and the look-up's chain: synthetic, equal for one seed on any machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import msgspec

BLOCK_SIZE = 16
CHAIN_BLOCKS = 10_240
"""Blocks of the prompt asked for: 163,840 tokens."""

SHARED_BLOCKS = 1_000
"""Leading blocks that every replica holds where sessions are sticky: a large system prompt and its tools."""

SESSION_BLOCKS = 2_048
TOTAL_PAIRS = 1 << 20
"""Pairs of block and replica held in all, at least."""

EVENT_BLOCKS = 128
"""Blocks of one stored event, as an engine step of 2,048 prompt tokens publishes them."""

HASH_BITS = 60


class Step(msgspec.Struct, frozen=True, gc=False):
    """One event to store: `blocks` in prompt order after `parent`."""

    replica: int
    parent: int | None
    blocks: Sequence[int]


class Workload(msgspec.Struct, frozen=True):
    """Who holds how much of `chain`: `depths[i]` leading blocks on replica i, besides private sessions."""

    name: str
    chain: tuple[int, ...]
    missing: tuple[int, ...]
    """As long as `chain`, and nobody holds its first block."""
    depths: tuple[int, ...]
    seed: int

    @property
    def num_replicas(self) -> int:
        """Replicas that hold anything."""
        return len(self.depths)

    def steps(self) -> Iterator[Step]:
        """All that is stored, replica by replica: its share of the chain first, then sessions that it alone holds."""
        rng = Random(f"{self.seed} sessions")
        for replica, depth in enumerate(self.depths):
            yield from stored(replica, self.chain[:depth], EVENT_BLOCKS)
            for _ in range(max(0, TOTAL_PAIRS // self.num_replicas - depth) // SESSION_BLOCKS):
                yield from stored(replica, hashes(rng, SESSION_BLOCKS), EVENT_BLOCKS)


def workload(name: str, num_replicas: int, seed: int) -> Workload:
    """Depths on `num_replicas` by name.

    `sticky`: one replica holds the whole chain, the others what all share; `spread`: depths are equally far apart, in random
    order; `all`: every replica holds everything.
    """
    rng = Random(f"{seed} {name} {num_replicas}")
    if name == "sticky":
        depths = [SHARED_BLOCKS] * num_replicas
        depths[rng.randrange(num_replicas)] = CHAIN_BLOCKS
    elif name == "spread":
        depths = [CHAIN_BLOCKS * (rank + 1) // num_replicas for rank in range(num_replicas)]
        rng.shuffle(depths)
    elif name == "all":
        depths = [CHAIN_BLOCKS] * num_replicas
    else:
        raise ValueError(f"no workload is called {name!r}")
    return Workload(
        name=name, chain=hashes(rng, CHAIN_BLOCKS), missing=hashes(rng, CHAIN_BLOCKS), depths=tuple(depths), seed=seed
    )


def stored(replica: int, blocks: Sequence[int], size: int) -> Iterator[Step]:
    """A chain from its head on, in events of `size` blocks."""
    for start in range(0, len(blocks), size):
        yield Step(replica=replica, parent=blocks[start - 1] if start else None, blocks=blocks[start : start + size])


def hashes(rng: Random, count: int) -> tuple[int, ...]:
    """Block hashes of 60 bits, as the proxy keeps them."""
    return tuple(rng.getrandbits(HASH_BITS) for _ in range(count))
