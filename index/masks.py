"""Which of many holders have which keys, as one interned bitmask a key, and how deep into a chain each of them reaches."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_INTERNED = 65_536
"""Distinct masks shared between keys; past it the table starts anew, which costs sharing and nothing else."""


def slots_of(mask: int) -> Iterator[int]:
    """The slots whose bits are set in `mask`, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class Masks(Generic[Key]):
    """Map of key to the set of slots that hold it.

    A slot is a small number. A retired one is forgotten at once by whoever asks no more for it, and comes again only when
    `sweep` has left none of its bits: so a bit never speaks of an earlier owner.
    """

    def __init__(self) -> None:
        self._masks: dict[Key, int] = {}
        self._interned: dict[int, int] = {}
        self._bits: list[int] = []
        self._free: list[int] = []
        self._retired: dict[int, MutableMapping[Key, Any]] = {}

    def __len__(self) -> int:
        return len(self._masks)

    def open_slot(self) -> int:
        """Take a slot that no key names."""
        if self._free:
            return self._free.pop()
        self._bits.append(1 << len(self._bits))
        return len(self._bits) - 1

    def retire_slot(self, slot: int, held: MutableMapping[Key, Any]) -> None:
        """Leave a slot to `sweep`, with all keys it holds; `held` is taken over."""
        self._retired[slot] = held

    def sweep(self, max_keys: int) -> int:
        """Clean up after retired slots, `max_keys` keys at most; returns how many of them were not spent."""
        while self._retired and max_keys > 0:
            slot, held = next(iter(self._retired.items()))
            gone = [held.popitem()[0] for _ in range(min(max_keys, len(held)))]
            self.unmark(gone, slot)
            max_keys -= max(1, len(gone))
            if not held:
                del self._retired[slot]
                self._free.append(slot)
        return max_keys

    @property
    def has_retired(self) -> bool:
        """Whether a retired slot waits for `sweep`."""
        return bool(self._retired)

    def mark(self, keys: Iterable[Key], slot: int) -> None:
        """Say that `slot` holds `keys`."""
        bit = self._bits[slot]
        masks = self._masks
        for key in keys:
            mask = masks.get(key)
            if mask is None:
                masks[key] = bit
            elif not mask & bit:
                masks[key] = self._intern(mask | bit)

    def unmark(self, keys: Iterable[Key], slot: int) -> None:
        """Say that `slot` no longer holds `keys`; a key without holders is forgotten."""
        bit = self._bits[slot]
        masks = self._masks
        for key in keys:
            mask = masks.get(key, 0)
            if mask == bit:
                del masks[key]
            elif mask & bit:
                masks[key] = self._intern(mask ^ bit)

    def holders(self, key: Key) -> int:
        """Mask of the slots that hold `key`."""
        return self._masks.get(key, 0)

    def depths(self, chain: Sequence[Key], length: int, wanted: int) -> list[tuple[int, int]]:
        """How many of the first `length` keys of `chain` the slots in mask `wanted` hold: pairs of a mask and a depth.

        Slots with depth 0 are left out. Bisects, so it relies on every holder of a key holding all keys before it: that costs
        a probe or two where all agree and log2(length) probes for each further depth.
        """
        masks = self._masks
        found: list[tuple[int, int]] = []
        alive = masks.get(chain[0], 0) & wanted if length else 0
        if not alive:
            return found
        # The far end comes first: who holds any of a prompt that was sent before often holds all of it.
        whole = masks.get(chain[length - 1], 0) & alive
        if whole:
            found.append((whole, length))
        todo = [(1, length - 1, alive ^ whole)] if whole != alive else []
        while todo:
            low, high, mask = todo.pop()
            while low < high:
                middle = (low + high + 1) // 2
                deeper = masks.get(chain[middle - 1], 0) & mask
                if deeper == mask:
                    low = middle
                elif not deeper:
                    high = middle - 1
                else:
                    todo.append((low, middle - 1, mask ^ deeper))
                    low, mask = middle, deeper
            found.append((mask, low))
        return found

    def _intern(self, mask: int) -> int:
        if len(self._interned) >= MAX_INTERNED:
            self._interned.clear()
        return self._interned.setdefault(mask, mask)
