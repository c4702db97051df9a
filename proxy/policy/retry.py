"""How often a call may be tried, and where not."""

from __future__ import annotations

import msgspec

from turnwise.types import ReplicaId


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try of a call: its number from 1, how many there may be, and the replicas that have failed it."""

    number: int
    max_attempts: int
    failed: frozenset[ReplicaId]

    @classmethod
    def first(cls, max_attempts: int) -> Attempt:
        """The first try of a call that may be tried `max_attempts` times."""
        return cls(1, max_attempts, frozenset())

    @property
    def is_last(self) -> bool:
        """Whether no other may follow."""
        return self.number >= self.max_attempts

    def after(self, replica: ReplicaId) -> Attempt:
        """The next try, which avoids `replica` as well, for it has just failed."""
        return Attempt(self.number + 1, self.max_attempts, self.failed | {replica})
