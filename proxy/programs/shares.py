"""Counts of what each owner has, and at any time who has most."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)


class Shares(Generic[Owner]):
    """How many each owner has; every step costs the same, however many there are."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: dict[Owner, int] = {}
        self._owners: dict[int, dict[Owner, None]] = {}
        self._most = 0

    @property
    def largest(self) -> Owner:
        """An owner of whom none has more; raises `KeyError` where nobody has anything."""
        return next(iter(self._owners[self._most]))

    def add(self, owner: Owner) -> None:
        """One more."""
        count = self._counts.get(owner, 0)
        if count:
            owners = self._owners[count]
            del owners[owner]
            if not owners:
                del self._owners[count]
        count += 1
        self._counts[owner] = count
        self._owners.setdefault(count, {})[owner] = None
        self._most = max(self._most, count)
        self.total += 1

    def remove(self, owner: Owner) -> None:
        """One less; raises `KeyError` where the owner has none."""
        count = self._counts.pop(owner)
        owners = self._owners[count]
        del owners[owner]
        if not owners:
            del self._owners[count]
            if count == self._most:
                self._most = count - 1
        if count > 1:
            self._counts[owner] = count - 1
            self._owners.setdefault(count - 1, {})[owner] = None
        self.total -= 1
