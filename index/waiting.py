"""Calls that were sent to one replica and that its engine has not looked at: they will bring blocks, and evict others."""

from __future__ import annotations

from math import inf


class Waiting:
    """The calls that wait for one engine, in the order in which they were booked, which is that in which engines take them."""

    __slots__ = ("_calls", "is_told", "num_tokens")

    def __init__(self) -> None:
        self.is_told = False
        """Whether its events bear stamps, and so tell who waits no more; where they do not, only answers do."""
        self.num_tokens = 0
        """Tokens that they will compute, by what was believed when they were booked."""
        self._calls: dict[str, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call_id: str, num_tokens: int, now: float) -> None:
        """A call was booked that will compute so many tokens."""
        if call_id in self._calls:
            self.leave(call_id)
        self._calls[call_id] = now, num_tokens
        self.num_tokens += num_tokens

    def leave(self, call_id: str) -> None:
        """Its engine has looked at a call, or it has ended; an unknown one is ignored."""
        call = self._calls.pop(call_id, None)
        if call is not None:
            self.num_tokens -= call[1]

    @property
    def since(self) -> float:
        """When the oldest of them was booked; never, where none waits."""
        for booked_at, _ in self._calls.values():
            return booked_at
        return inf

    def expire(self, before: float) -> None:
        """Forget those booked before `before`: nobody will say what became of them."""
        while self.since < before:
            self.leave(next(iter(self._calls)))
