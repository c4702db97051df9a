"""How often a call may be tried, and where not."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from turnwise.types import ReplicaId


class Attempt(msgspec.Struct, frozen=True):
    """One try of a call: its number from 1, and the replicas that have failed it."""

    number: int
    failed: frozenset[ReplicaId]
    is_last: bool


class Attempts:
    """The tries of one call; `failed` is told what went wrong between two of them."""

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._failed: frozenset[ReplicaId] = frozenset()

    def __iter__(self) -> Iterator[Attempt]:
        for number in range(1, self._max_attempts + 1):
            yield Attempt(number=number, failed=self._failed, is_last=number == self._max_attempts)

    def failed(self, replica: ReplicaId) -> None:
        """Do not try `replica` again for this call."""
        self._failed |= {replica}
