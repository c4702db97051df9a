"""What goes wrong between an engine and those who listen to it: a lossy network, and events that no engine should publish."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

MAX_BEHIND = 4
"""By how many later batches a delayed one may be overtaken."""
HUGE = 200_000
"""Hashes in a nonsense event that is a huge list: the blocks of 3 M tokens at 16 a block."""


class LossyLine(Generic[Item]):
    """A line on which items are lost, delayed behind later ones, and sent twice, each with its own chance, 0 to 1."""

    def __init__(self, *, drop: float, reorder: float, duplicate: float, seed: int) -> None:
        self._drop = drop
        self._reorder = reorder
        self._duplicate = duplicate
        self._rng = random.Random(seed)  # noqa: S311 - faults of a simulation, reproducible on purpose
        self._delayed: list[tuple[int, Item]] = []

    def send(self, item: Item) -> list[Item]:
        """Put one item on the line; gives what comes out of it now."""
        rng = self._rng
        out: list[Item] = []
        is_delayed = False
        if rng.random() >= self._drop:
            is_delayed = rng.random() < self._reorder
            if not is_delayed:
                out = [item] * (2 if rng.random() < self._duplicate else 1)
        waiting = [(behind - 1, earlier) for behind, earlier in self._delayed]
        out += [earlier for behind, earlier in waiting if not behind]
        self._delayed = [entry for entry in waiting if entry[0]]
        if is_delayed:
            self._delayed.append((rng.randint(1, MAX_BEHIND), item))
        return out

    def cut(self) -> None:
        """Lose what is still on the line: it has broken off, and whoever connects anew hears nothing of it."""
        self._delayed.clear()


class Liar:
    """Puts nonsense into batches of encoded events: into a `share` of them, one event of a kind chosen at random."""

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._rng = random.Random(seed)  # noqa: S311 - as above

    def spoil(self, events: Sequence[dict[str, Any]]) -> list[Any]:
        """The batch as published: all its events in their order, and maybe one that is none."""
        spoiled: list[Any] = list(events)
        if self._rng.random() < self._share:
            lie = self._rng.choice(NONSENSE)(self._rng)
            spoiled.insert(self._rng.randint(0, len(spoiled)), lie)
        return spoiled


def _hashes(rng: random.Random, count: int) -> Iterator[int]:
    return (rng.getrandbits(64) for _ in range(count))


def _stored(rng: random.Random, **changes: object) -> dict[str, Any]:
    (parent, block) = _hashes(rng, 2)
    stored = {
        "type": "BlockStored",
        "block_hashes": [block],
        "parent_block_hash": parent,
        "token_ids": list(range(16)),
        "block_size": 16,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
    }
    return {**stored, **changes}


NONSENSE: tuple[Callable[[random.Random], Any], ...] = (
    lambda rng: {"type": "BlockMelted", "block_hashes": list(_hashes(rng, 2)), "medium": "GPU"},
    lambda _rng: {"type": "BlockStored", "medium": "GPU"},
    lambda _rng: {"type": "BlockRemoved"},
    lambda rng: {"block_hashes": list(_hashes(rng, 1))},
    lambda rng: _stored(rng, block_hashes="none"),
    lambda rng: _stored(rng, block_hashes=[None, {"hash": 1}]),
    lambda rng: _stored(rng, parent_block_hash=["a", "list"]),
    lambda rng: _stored(rng, block_size="16"),
    lambda rng: _stored(rng, block_size=-16),
    lambda rng: _stored(rng, block_hashes=list(range(start := rng.getrandbits(60), start + HUGE))),
    lambda rng: _stored(rng, session_id={"id": 7}),
    lambda _rng: {"type": "BlockRemoved", "block_hashes": -1, "medium": 7},
    lambda _rng: 17,
    lambda _rng: None,
    lambda _rng: [],
    lambda _rng: "AllBlocksCleared",
)
"""Makers of events that nobody can use: unknown types, missing fields, wrong types, sizes that cannot be, no events at all."""
