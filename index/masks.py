"""Which of many holders have which keys, as one interned bitmask a key, and how deep into a chain each of them reaches."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import lru_cache
from itertools import compress, count
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_INTERNED = 16_384
"""Distinct masks shared between keys: 3 MB of them."""


_FEW = 8
"""Bits up to which taking them out one by one is cheaper than looking at every place."""

_MANY_SPLITS = 3
"""Nested parts of a chain in each of which masks differed, after which most of what is left will."""

_HOPS_PER_SLOT = 4
"""Values passed for each slot looked for, before bisecting is cheaper."""

_DIGITS = bytes.maketrans(b"01", b"\0\1")


def slots_of(mask: int) -> Collection[int]:
    """The slots whose bits are set in `mask`: 0.1 us for one, 10 us for 256 and 0.1 us when asked again."""
    if mask.bit_count() > _FEW:
        return _many_slots_of(mask)
    slots: list[int] = []
    while mask:
        low = mask & -mask
        slots.append(low.bit_length() - 1)
        mask ^= low
    return slots


# The holders of a shared beginning are asked for with every prompt. 5 MB at 256 slots; a set, since a dict is made of its items
# twice as fast as of a tuple's.
@lru_cache(maxsize=256)
def _many_slots_of(mask: int) -> frozenset[int]:
    return frozenset(compress(count(), f"{mask:b}"[::-1].encode().translate(_DIGITS)))


def reaches(
    values: Mapping[Key, int], chain: Sequence[Key], length: int, wanted: int, extents: Mapping[int, int] | None = None
) -> list[tuple[int, int]]:
    """How many of the first `length` keys of `chain` each bit of `wanted` is set for, as pairs of a mask and a number.

    Deepest first; bits that reach nothing are left out. Bisects, so it relies on every bit of a key being set for all keys
    before it: that costs a probe or two where all agree and log2(length) probes for each further number. Where numbers turn out
    to be many and `extents` tells how many keys have one value, it goes from one value to the next: two probes for each.
    """
    get = values.get
    found: list[tuple[int, int]] = []
    alive = get(chain[0], 0) & wanted if length else 0
    if not alive:
        return found
    # The far end comes first: who holds any of a prompt that was sent before often holds all of it.
    whole = get(chain[length - 1], 0) & alive
    if whole:
        found.append((whole, length))
    # Each bit of `mask` is set for the first `low` keys and for no more than `high`.
    todo = [(1, length - 1, alive ^ whole, 0)] if whole != alive else []
    while todo:
        low, high, mask, num_splits = todo.pop()
        while low < high:
            if num_splits == _MANY_SPLITS and extents:
                high, mask = _hop(values, extents, chain, low, high, mask, found)
                num_splits += 1
                if not mask:
                    break
                continue
            middle = (low + high) >> 1
            deeper = get(chain[middle], 0) & mask
            if deeper == mask:
                low = middle + 1
            elif deeper:
                num_splits += 1
                todo.append((low, middle, mask ^ deeper, num_splits))
                low, mask = middle + 1, deeper
            else:
                high = middle
        if mask:
            found.append((mask, low))
    return found


def _hop(
    values: Mapping[Key, int],
    extents: Mapping[int, int],
    chain: Sequence[Key],
    low: int,
    high: int,
    mask: int,
    found: list[tuple[int, int]],
) -> tuple[int, int]:
    """Go back from `high` towards `low` one value at a time, adding to `found`; returns how far it came and for whom not."""
    get = values.get
    for _ in range(_HOPS_PER_SLOT * mask.bit_count()):
        value = get(chain[high - 1], 0)
        here = value & mask
        if here:
            found.append((here, high))
            mask ^= here
        if not mask:
            break
        # Keys of one value lie side by side, but for those that other chains have after a common beginning.
        start = max(low, high - extents.get(value, 1))
        high = start if get(chain[start], 0) == value else high - 1
        if high == low:
            break
    return high, mask


class Interned:
    """Equal masks as one object; the table is bounded, and past that starts anew, which costs sharing and nothing else."""

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def __call__(self, mask: int) -> int:
        """The object to keep for `mask`."""
        if len(self._masks) >= MAX_INTERNED:
            self._masks.clear()
        return self._masks.setdefault(mask, mask)
