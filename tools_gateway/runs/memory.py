"""Results that still serve equal calls, of tools that the operator marked so: bounded in bytes, the least used goes first."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from turnwise.tools_gateway.runs.values import CallKey
from turnwise.tools_gateway.values import JsonObject

ENTRY_BYTES = 512
"""What an entry is taken to weigh besides its result, so that many small ones are bounded too."""


class Remembered(msgspec.Struct, frozen=True):
    """One result."""

    result: JsonObject
    """The very object that the run gave."""
    seconds: float
    """That its run took."""
    good_until: float
    num_bytes: int
    """Of the whole entry."""


class Memory:
    """Results by call; the key holds tenant, upstream and credential."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._results: OrderedDict[CallKey, Remembered] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: CallKey, now: float) -> Remembered | None:
        """The result of an equal call while it is good."""
        known = self._results.get(key)
        if known is None:
            return None
        if now >= known.good_until:
            self._drop(key)
            return None
        self._results.move_to_end(key)
        return known

    def put(self, key: CallKey, result: JsonObject, seconds: float, good_until: float) -> None:
        """Remember a result; one that is larger than a quarter of the bound would push out too much and is left out."""
        num_bytes = weight(result) + ENTRY_BYTES
        if num_bytes > self._max_bytes // 4:
            return
        if key in self._results:
            self._drop(key)
        self._results[key] = Remembered(result, seconds, good_until, num_bytes)
        self.num_bytes += num_bytes
        while self.num_bytes > self._max_bytes:
            self._drop(next(iter(self._results)))

    def expire(self, now: float) -> None:
        """Drop what is no longer good."""
        for key in [key for key, known in self._results.items() if now >= known.good_until]:
            self._drop(key)

    def _drop(self, key: CallKey) -> None:
        self.num_bytes -= self._results.pop(key).num_bytes


def weight(result: JsonObject) -> int:
    """Bytes of a result as JSON."""
    return len(msgspec.json.encode(result))
