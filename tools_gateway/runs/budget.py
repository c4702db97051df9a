"""What early runs may cost one tenant: runs at once, and bytes of results that wait for their agents."""

from __future__ import annotations

from collections import Counter


class Budget:
    """Counts for each tenant; no tenant's early runs take anything from another's."""

    def __init__(self, *, max_early: int, max_held_bytes: int) -> None:
        self._max_early = max_early
        self._max_held_bytes = max_held_bytes
        self._running: Counter[str] = Counter()
        self._held: Counter[str] = Counter()

    def has_room(self, tenant: str) -> bool:
        """Whether one more may begin."""
        return self._running[tenant] < self._max_early and self._held[tenant] < self._max_held_bytes

    def begin(self, tenant: str) -> None:
        """An early run has begun."""
        self._running[tenant] += 1

    def end(self, tenant: str) -> None:
        """It has ended, was asked for, or is void."""
        self._running[tenant] -= 1
        if not self._running[tenant]:
            del self._running[tenant]

    def hold(self, tenant: str, num_bytes: int) -> bool:
        """Keep a result; says whether there is room for it."""
        if self._held[tenant] + num_bytes > self._max_held_bytes:
            return False
        self._held[tenant] += num_bytes
        return True

    def release(self, tenant: str, num_bytes: int) -> None:
        """A result was given out, or dropped."""
        self._held[tenant] -= num_bytes
        if not self._held[tenant]:
            del self._held[tenant]
