"""What is known of one tool: its run times with arguments of each size, and how its runs ended."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from turnwise.tools_gateway.forecast.state import ToolState
from turnwise.tools_gateway.forecast.window import Window
from turnwise.tools_gateway.values import Fate, ToolKey

NUM_SIZES = 5
"""Of arguments: below 256 bytes, and each the eightfold of the one before; the last has no end."""

REMEMBERED = 100.0
"""Runs by which shares of fates are told; older ones weigh less."""


class ToolRuns:
    """Runs of one tool."""

    __slots__ = ("_fates", "_size", "_sizes", "errors", "last_run_at", "runs")

    def __init__(self, last_run_at: float) -> None:
        self.runs = Window()
        """With arguments of any size, that ended well or were cut off."""
        self.errors = Window()
        """That ended with an error of the tool's own."""
        self.last_run_at = last_run_at
        self._size: int | None = None
        """Of all arguments so far."""
        self._sizes: dict[int, Window] = {}
        """Empty until there is more than one."""
        self._fates: dict[Fate, float] = {}

    def of_size(self, argument_bytes: int) -> Window:
        """Runs with arguments of about this size; all runs where there is no such window yet."""
        return self._sizes.get(_size_of(argument_bytes), self.runs) if self._sizes else self.runs

    def learn(self, argument_bytes: int, seconds: float, *, is_cut: bool) -> None:
        """A run has ended well, or was cut off after so long."""
        size = _size_of(argument_bytes)
        if self._size is None:
            self._size = size
        elif not self._sizes and size != self._size:
            self._sizes[self._size] = Window.restored(self.runs.values)
        self.runs.add(seconds, is_cut=is_cut)
        if self._sizes:
            window = self._sizes.get(size)
            if window is None:
                window = self._sizes[size] = Window()
            window.add(seconds, is_cut=is_cut)

    def count(self, fate: Fate) -> None:
        """A run has ended so."""
        fates = self._fates
        if sum(fates.values()) >= REMEMBERED:
            for each in fates:
                fates[each] *= 1 - 1 / REMEMBERED
        fates[fate] = fates.get(fate, 0.0) + 1

    def success(self) -> float:
        """Share of runs that ended well, of those that somebody waited for; one such run is taken for granted."""
        fates = self._fates
        return (1 + fates.get(Fate.SUCCESS, 0.0)) / (1 + sum(fates.values()) - fates.get(Fate.CANCELLED, 0.0))

    def shares(self) -> dict[Fate, float]:
        """How the last runs ended; these sum to 1."""
        total = sum(self._fates.values())
        return {fate: num / total for fate, num in self._fates.items()}

    def dump(self, key: ToolKey, now: float) -> ToolState:
        """All of it as a value."""
        return ToolState(
            upstream=key.upstream,
            tool=key.tool,
            age_s=max(0.0, now - self.last_run_at),
            size=self._size,
            runs=self.runs.values,
            sizes={size: window.values for size, window in self._sizes.items()},
            errors=self.errors.values,
            fates=dict(self._fates),
        )

    @classmethod
    def restored(cls, state: ToolState, last_run_at: float) -> ToolRuns:
        """What `dump` gave; raises `ValueError` where it is no such thing."""
        known = cls(last_run_at)
        known.runs, known.errors = Window.restored(state.runs), Window.restored(state.errors)
        if not _are_sizes(state.sizes) or not _are_sizes(() if state.size is None else (state.size,)):
            raise ValueError("no arguments are of these sizes")
        if not all(0 <= num < inf for num in state.fates.values()):
            raise ValueError("runs are counted from 0 on")
        known._size, known._fates = state.size, dict(state.fates)
        known._sizes = {size: Window.restored(values) for size, values in state.sizes.items()}
        return known


def _size_of(argument_bytes: int) -> int:
    return min(NUM_SIZES - 1, max(0, argument_bytes.bit_length() - 6) // 3)


def _are_sizes(sizes: Iterable[int]) -> bool:
    return all(0 <= size < NUM_SIZES for size in sizes)
