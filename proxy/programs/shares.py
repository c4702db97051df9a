"""Counts of what each owner has, and at any time who has most."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)


class Shares(Generic[Owner]):
    """How many each owner has; every step costs the same, however many there are, and a third where there is one."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: dict[Owner, int] = {}
        self._owners: dict[int, dict[Owner, None]] = {}
        """By how many they have; empty where there is one owner, or none."""
        self._most = 0

    @property
    def largest(self) -> Owner:
        """An owner of whom none has more; raises `KeyError` where nobody has anything."""
        return next(iter(self._counts if len(self._counts) == 1 else self._owners[self._most]))

    def add(self, owner: Owner) -> None:
        """One more."""
        counts = self._counts
        count = counts.get(owner, 0)
        counts[owner] = count + 1
        self.total += 1
        if len(counts) > 1:
            self._moved(owner, count, count + 1)

    def remove(self, owner: Owner) -> None:
        """One less; raises `KeyError` where the owner has none."""
        counts = self._counts
        count = counts[owner]
        if count > 1:
            counts[owner] = count - 1
        else:
            del counts[owner]
        self.total -= 1
        if len(counts) > 1:
            self._moved(owner, count, count - 1)
        elif self._owners:
            self._owners.clear()

    def _moved(self, owner: Owner, before: int, now: int) -> None:
        if not self._owners:  # there was one owner until now
            for other, count in self._counts.items():
                self._owners.setdefault(count, {})[other] = None
            self._most = max(self._owners)
            return
        if before:
            owners = self._owners[before]
            del owners[owner]
            if not owners:
                del self._owners[before]
                if before == self._most:
                    self._most = before - 1
        if now:
            self._owners.setdefault(now, {})[owner] = None
            self._most = max(self._most, now)
