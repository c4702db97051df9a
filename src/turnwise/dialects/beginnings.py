"""Beginnings of bodies read before: an agent's next body begins with the bytes of its last one, up to the end of a turn.

What was understood of a beginning is kept, and the beginning itself only as a hash. So a body that goes on from there costs one
hash of its bytes and a reading of its new turns.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping

import msgspec
from xxhash import xxh3_128

from turnwise.turns import Breakpoint
from turnwise.types import PromptChain, SegmentKind

MIN_BYTES = 16 * 1024
"""Shortest beginning that is kept. A body of 20 KB in turns of 4 KB takes 27 us to read in full, and 25 to go on from where it
ended before; in turns of 300 bytes 99 and 23."""

MAX_BYTES = 32 * 1024 * 1024
"""Bound on what is kept, for each API: 800 conversations of 330 turns, some 600 KB each."""

MAX_FORKS = 32
"""Beginnings kept of one key, the newest: conversations of one history, such as sub-agents that branched off together."""

BYTES_PER_SEGMENT = 115
"""What a beginning takes for each segment: digest, end, kind and place, and their slots, as tracemalloc has it."""

BYTES_PER_BEGINNING = 1500
"""What it takes beside: its structs and hashes, and its places in dicts and lists, as tracemalloc has it."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """What a dialect understood of the first `end` bytes of a body, which end with a turn."""

    key: bytes
    """Digest of the longest beginning of these bytes whose length is `MIN_BYTES` times a power of two."""
    end: int
    digest: bytes
    """xxh3_128 of all of them."""
    frame: bytes
    """See `Frame.digest`."""
    num_turns: int
    kinds: tuple[SegmentKind, ...]
    """Kinds of the segments of the prompt, and perhaps of some behind these bytes."""
    starts: array[int]
    """Offset of each segment of the turns."""
    unmarked: Mapping[int, bytes]
    """Segments, counted from the first of the turns, that stand otherwise in the body, since a marker was taken out of them."""
    breakpoints: tuple[Breakpoint, ...]
    """Where markers were that mark something, in these turns; segments are counted from the first of the prompt."""


class Beginning(msgspec.Struct, frozen=True, gc=False):
    """A place and the prompt chain of the body in which it was found, and perhaps of some segments more."""

    place: Place
    chain: PromptChain
    num_segments: int
    """How many segments of the prompt end at the place."""

    @property
    def num_bytes(self) -> int:
        """What it takes in memory."""
        unmarked = self.place.unmarked
        kept = sum(map(len, unmarked.values())) if unmarked else 0
        return BYTES_PER_BEGINNING + BYTES_PER_SEGMENT * len(self.chain.digests) + kept


class Trail:
    """Hashes of the beginnings of one body, each byte hashed about once however many are asked for."""

    __slots__ = ("_ends", "_hashers", "body", "keys")

    def __init__(self, body: bytes) -> None:
        """Hash the longest beginning whose length is `MIN_BYTES` times a power of two, and half of it."""
        self.body = view = memoryview(body)
        end = MIN_BYTES << (len(body) // MIN_BYTES).bit_length() - 1
        half = max(MIN_BYTES, end // 2)
        hasher = xxh3_128(view[:half])
        self._ends, self._hashers = [half], [hasher]
        self.keys: list[tuple[int, bytes]] = [(half, hasher.digest())]
        """Their lengths and digests, the longer first: a body that goes on seldom has twice the bytes of the one before."""
        if end > half:
            hasher = hasher.copy()
            hasher.update(view[half:end])
            self._ends.append(end)
            self._hashers.append(hasher)
            self.keys.insert(0, (end, hasher.digest()))

    def key(self, end: int) -> bytes | None:
        """The key of the beginning that ends at `end`; None where it is too short to be found."""
        for length, key in self.keys:
            if length <= end:
                return key
        return None

    def digest(self, end: int) -> bytes:
        """xxh3_128 of the first `end` bytes, for which there is a key."""
        nearest = bisect_right(self._ends, end)
        begun, hasher = self._ends[nearest - 1], self._hashers[nearest - 1]
        if begun < end:
            hasher = hasher.copy()
            hasher.update(self.body[begun:end])
            self._ends.insert(nearest, end)
            self._hashers.insert(nearest, hasher)
        digest: bytes = hasher.digest()
        return digest


class Beginnings:
    """Beginnings by their hashes, the least recently used forgotten where they take more than `max_bytes`."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._all: OrderedDict[bytes, Beginning] = OrderedDict()
        """Each by the digest of all its bytes."""
        self._by_key: dict[bytes, dict[bytes, Beginning]] = {}

    def __iter__(self) -> Iterator[Beginning]:
        return iter(self._all.values())

    def find(self, body: bytes, trail: Trail) -> Beginning | None:
        """The longest beginning of `body`, behind which it has a comma and so a further turn; None where none is known."""
        for _, key in trail.keys:
            found: Beginning | None = None
            for digest, beginning in self._by_key.get(key, _NONE).items():
                end = beginning.place.end
                is_longer = found is None or end > found.place.end
                if is_longer and body.startswith(b",", end) and trail.digest(end) == digest:
                    found = beginning
            if found is not None:
                return found
        return None

    def keep(self, beginning: Beginning, before: Beginning | None) -> None:
        """Remember a beginning, in place of the one that it goes on from."""
        place = beginning.place
        digest = place.digest
        if before is not None:
            self._forget(before.place.digest)
        self._forget(digest)
        self._all[digest] = beginning
        self.num_bytes += beginning.num_bytes
        same_key = self._by_key.setdefault(place.key, {})
        same_key[digest] = beginning
        if len(same_key) > MAX_FORKS:
            self._forget(next(iter(same_key)))
        while self.num_bytes > self.max_bytes:
            self._forget(next(iter(self._all)))

    def _forget(self, digest: bytes) -> None:
        beginning = self._all.pop(digest, None)
        if beginning is None:
            return
        self.num_bytes -= beginning.num_bytes
        key = beginning.place.key
        same_key = self._by_key[key]
        del same_key[digest]
        if not same_key:
            del self._by_key[key]


_NONE: Mapping[bytes, Beginning] = {}
