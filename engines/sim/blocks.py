"""The paged KV cache: reference-counted blocks, a prefix cache by chained content hash, least recently used eviction.

A free block keeps its content until it is handed out again, so the cache is whatever the free list still remembers. A sequence
gives its blocks back last block first: its tail is evicted before its head, which other sequences are likelier to share.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import takewhile

import msgspec
import xxhash


class Stored(msgspec.Struct, frozen=True):
    """Blocks `first .. first + len(hashes) - 1` of a prompt have been filled; `tokens` are those of these blocks."""

    hashes: tuple[int, ...]
    parent: int | None
    first: int
    tokens: array[int]
    owner: BlockOwner


class Removed(msgspec.Struct, frozen=True):
    """One block has been evicted from the pool, or from the CPU tier."""

    hash: int
    is_offloaded: bool = False


class Offloaded(msgspec.Struct, frozen=True):
    """One block has been copied to the CPU tier."""

    hash: int


class Cleared(msgspec.Struct, frozen=True):
    """The whole prefix cache has been dropped."""


CacheEvent = Stored | Removed | Cleared | Offloaded


class BlockOwner(msgspec.Struct, frozen=True):
    """Whose blocks these are: what separates their hashes from equal text of others, and the caller's stamp."""

    model: str
    lora: str | None = None
    salt: str | None = None
    session_id: str | None = None

    @property
    def root(self) -> int:
        """Hash in which every chain of this model, adapter and salt begins."""
        return xxhash.xxh3_64_intdigest("\0".join((self.model, self.lora or "", self.salt or "")).encode())


def extend_hashes(hashes: list[int], tokens: array[int], block_size: int, root: int) -> None:
    """Append the hashes of all full blocks of `tokens` that `hashes` does not have yet; each covers its parent's hash."""
    raw = memoryview(tokens).cast("B")
    width = block_size * tokens.itemsize
    parent = hashes[-1] if hashes else root
    for index in range(len(hashes), len(tokens) // block_size):
        hasher = xxhash.xxh3_64(parent.to_bytes(8, "big"))
        hasher.update(raw[index * width : (index + 1) * width])
        parent = hasher.intdigest()
        hashes.append(parent)


class CpuTier:
    """Blocks in host memory, by hash: what the pool evicts, until the tier evicts it in turn, least recently used first.

    As with vLLM's own tier, a block that comes back to the pool stays here too, and a block that is here already is not
    copied again when the pool evicts it. Tells what it did in `events`, oldest first.
    """

    def __init__(self, num_blocks: int) -> None:
        self.events: list[CacheEvent] = []
        self._num_blocks = num_blocks
        self._held: OrderedDict[int, None] = OrderedDict()

    @property
    def hashes(self) -> AbstractSet[int]:
        """Hashes of all blocks held."""
        return self._held.keys()

    def put(self, block_hash: int) -> None:
        """Take in a block, evicting another where the tier is full."""
        if block_hash in self._held:
            return
        if len(self._held) == self._num_blocks:
            oldest, _none = self._held.popitem(last=False)
            self.events.append(Removed(oldest, is_offloaded=True))
        self._held[block_hash] = None
        self.events.append(Offloaded(block_hash))

    def match(self, hashes: Sequence[int], first: int, limit: int) -> int:
        """How many of the blocks from `first` on, up to `limit`, are held without a gap; they count as used now."""
        found = list(takewhile(self._held.__contains__, hashes[first:limit]))
        for block_hash in found:
            self._held.move_to_end(block_hash)
        return len(found)

    def clear(self) -> None:
        """Forget all content and tell of it."""
        self.lose()
        self.events.append(Cleared())

    def lose(self) -> None:
        """Forget all content and tell nobody."""
        self._held.clear()


class BlockPool:
    """All KV blocks of one engine; block ids are 0 to `num_blocks` - 1. Tells what it did in `events`, oldest first.

    What it evicts goes to `tier`, where there is one.
    """

    def __init__(self, num_blocks: int, block_size: int, tier: CpuTier | None = None) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.events: list[CacheEvent] = []
        self._tier = tier
        self._references = [0] * num_blocks
        self._hash_of: dict[int, int] = {}
        self._holders: dict[int, dict[int, None]] = {}
        """Blocks by content; two sequences that race on one cold prefix fill two blocks with one hash."""
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))

    @property
    def num_free(self) -> int:
        """Blocks that no sequence uses; cached ones are among them."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences use, 0 to 1; blocks merely cached do not count."""
        return 1.0 - len(self._free) / self.num_blocks

    def match(self, hashes: Sequence[int], limit: int) -> list[int]:
        """Ids of the blocks that hold the longest cached prefix, at most `limit` of them."""
        found: list[int] = []
        for block_hash in hashes[:limit]:
            holders = self._holders.get(block_hash)
            if not holders:
                break
            found.append(next(iter(holders)))
        return found

    @property
    def hashes(self) -> AbstractSet[int]:
        """Hashes of all blocks that can be found."""
        return self._holders.keys()

    def num_free_beside(self, blocks: Sequence[int]) -> int:
        """Free blocks that would be left once `blocks` are in use."""
        return len(self._free) - sum(1 for block in blocks if self._references[block] == 0)

    def reuse(self, blocks: Sequence[int]) -> None:
        """Take cached blocks into use once more."""
        for block in blocks:
            if self._references[block] == 0:
                del self._free[block]
            self._references[block] += 1

    def allocate(self, count: int) -> list[int]:
        """Take `count` blocks for new content, evicting what was used longest ago; the caller has checked `num_free`."""
        taken: list[int] = []
        for _ in range(count):
            block, _none = self._free.popitem(last=False)
            self._forget(block)
            self._references[block] = 1
            taken.append(block)
        return taken

    def store(self, blocks: Sequence[int], stored: Stored) -> None:
        """Make filled blocks findable by their hashes."""
        for block, block_hash in zip(blocks, stored.hashes, strict=True):
            self._hash_of[block] = block_hash
            self._holders.setdefault(block_hash, {})[block] = None
        self.events.append(stored)

    def release(self, blocks: Sequence[int]) -> None:
        """Give back one use of each block of a sequence, its tail first."""
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free[block] = None

    def clear(self) -> bool:
        """Forget all content and tell of it; refused (False) while any block is in use."""
        if len(self._free) != self.num_blocks:
            return False
        self.lose()
        self.events.append(Cleared())
        return True

    def lose(self) -> None:
        """Forget all content and tell nobody. Sequences keep the blocks that they use, which nobody finds any more."""
        self._hash_of.clear()
        self._holders.clear()

    def _forget(self, block: int) -> None:
        block_hash = self._hash_of.pop(block, None)
        if block_hash is None:
            return
        holders = self._holders[block_hash]
        del holders[block]
        if not holders:
            del self._holders[block_hash]
        self.events.append(Removed(block_hash))
        if self._tier is not None:
            self._tier.put(block_hash)
