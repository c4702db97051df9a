"""Predicted residency: what replicas should hold because we sent it there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import inf

import msgspec

from turnwise.index.masks import Masks
from turnwise.types import Digest

MAX_RUNS = 32_768
"""Runs kept for one slot whatever its tokens: about 10 MB, and a hundred and fifty sessions of 200 messages."""


class Run(msgspec.Struct, gc=False):
    """The tokens that one prompt segment adds: `tokens` up to its end, `size` of its own."""

    tokens: int
    size: int
    parent: Digest | None
    booked_at: float
    settled_at: float = inf
    """When an answer last proved it resident; never yet if infinite."""


class PredictedRuns:
    """Runs by digest for each slot, oldest first and, of one prompt, tail first: the order in which engines evict.

    So whoever holds a run holds every run before it, and a run's ancestors are booked no earlier than it.
    """

    def __init__(self) -> None:
        self._masks: Masks[Digest] = Masks()
        self._runs: dict[int, OrderedDict[Digest, Run]] = {}
        self._tokens: dict[int, int] = {}
        self._max_tokens: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(len(runs) for runs in self._runs.values())

    def open_slot(self, max_tokens: int) -> int:
        """Take a slot for a replica whose cache holds `max_tokens`."""
        slot = self._masks.open_slot()
        self._runs[slot] = OrderedDict()
        self._tokens[slot] = 0
        self._max_tokens[slot] = max_tokens
        return slot

    def retire_slot(self, slot: int) -> None:
        """Forget a slot at once; `sweep` cleans up after it."""
        del self._tokens[slot], self._max_tokens[slot]
        self._masks.retire_slot(slot, self._runs.pop(slot))

    def num_tokens(self, slot: int) -> int:
        """Tokens that `slot` is predicted to hold."""
        return self._tokens[slot]

    def book(self, slot: int, digests: Sequence[Digest], tokens: Sequence[int], now: float) -> None:
        """Predict that `slot` will hold the prompt of `digests`, `tokens[i]` long up to boundary i."""
        runs = self._runs[slot]
        for boundary in range(len(digests) - 1, -1, -1):
            digest = digests[boundary]
            run = runs.get(digest)
            if run is None:
                parent = digests[boundary - 1] if boundary else None
                runs[digest] = Run(tokens=0, size=0, parent=parent, booked_at=now)
            else:
                run.booked_at = now
                runs.move_to_end(digest)
        self._masks.mark(digests, slot)
        self._measure(slot, digests, tokens)
        while self._tokens[slot] > self._max_tokens[slot] or len(runs) > MAX_RUNS:
            self._drop(slot, next(iter(runs)))

    def depths(self, digests: Sequence[Digest], wanted: int) -> list[tuple[int, int]]:
        """Pairs of a mask of slots and how many leading boundaries they hold, for slots of mask `wanted` above zero."""
        return self._masks.depths(digests, len(digests), wanted)

    def tokens_since(self, slot: int, digests: Sequence[Digest], depth: int, since: float) -> int:
        """Tokens up to the deepest boundary booked at `since` or later, of the first `depth`, all of which `slot` holds."""
        runs = self._runs[slot]
        low, high = 0, depth
        while low < high:
            middle = (low + high + 1) // 2
            if runs[digests[middle - 1]].booked_at >= since:
                low = middle
            else:
                high = middle - 1
        return runs[digests[low - 1]].tokens if low else 0

    def settle(self, slot: int, digests: Sequence[Digest], tokens: Sequence[int], now: float) -> None:
        """An answer came: `digests` are resident, and `tokens` replace what was estimated."""
        runs = self._runs[slot]
        for digest in digests:
            run = runs.get(digest)
            if run is not None:
                run.settled_at = now
        self._measure(slot, digests, tokens)

    def correct(self, slot: int, digests: Sequence[Digest], cached_tokens: int) -> None:
        """The engine found only `cached_tokens` of a prompt that was just booked: drop what hung on the part it had lost.

        The prompt's own runs stay, since it has filled them anew; so does what was booked later, or had not been proved by an
        answer when this call was booked (it may only have been slower). A run counts as lost where less than half of it was
        cached, so that an inexact estimate of its length drops nothing. Call it before `settle`.
        """
        runs = self._runs[slot]
        own = runs.get(digests[-1])
        if own is None:
            return
        lost = {
            digest for digest in digests if (run := runs.get(digest)) is not None and cached_tokens < run.tokens - run.size / 2
        }
        kept = set(digests)
        gone: list[Digest] = []
        for digest, run in reversed(runs.items()):
            if run.parent in lost and digest not in kept and max(run.booked_at, run.settled_at) < own.booked_at:
                lost.add(digest)
                gone.append(digest)
        for digest in gone:
            self._drop(slot, digest)

    def sweep(self, before: float, max_runs: int) -> int:
        """Drop runs booked before `before` and clean up after retired slots; returns how many of `max_runs` are not spent."""
        left = self._masks.sweep(max_runs)
        for slot, runs in self._runs.items():
            while runs and left > 0:
                digest, run = next(iter(runs.items()))
                if run.booked_at >= before:
                    break
                self._drop(slot, digest)
                left -= 1
        return left

    def _measure(self, slot: int, digests: Sequence[Digest], tokens: Sequence[int]) -> None:
        runs = self._runs[slot]
        before = total = 0
        for digest, end in zip(digests, tokens, strict=True):
            run = runs.get(digest)
            if run is not None:
                size = max(0, end - before)
                total += size - run.size
                run.tokens, run.size = end, size
            before = end
        self._tokens[slot] += total

    def _drop(self, slot: int, digest: Digest) -> None:
        run = self._runs[slot].pop(digest)
        self._tokens[slot] -= run.size
        self._masks.unmark((digest,), slot)
