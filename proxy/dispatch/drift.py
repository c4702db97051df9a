"""Which engines, models and dialects often write behind the end of arguments, so that nothing of theirs is early."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from turnwise.events import ReplicaFacts
from turnwise.types import DialectName

MAX_DRIFTS = 3
"""Drifts after which nothing is early any more."""

QUIET_CALLS = 1000
"""Calls in a row without drift after which those before are forgotten: an accident a week is no habit."""


OTHER = "(other)"
"""The model of a call that names none of those its replica serves, as one that goes on from kept state may."""


class Combination(msgspec.Struct, frozen=True, gc=False):
    """Who wrote a call."""

    engine: str
    """Kind and version; the parser of tool calls is a part of it."""
    model: str
    """One that the replica serves, or `OTHER`: a client's own words would be combinations without end."""
    dialect: DialectName

    @classmethod
    def of(cls, replica: ReplicaFacts | None, model: str | None, dialect: DialectName) -> Combination:
        """Who writes for a call that names `model`; `replica` is None where nothing is known of it."""
        if replica is None:
            return cls("unknown", OTHER, dialect)
        engine = f"{replica.engine} {replica.version or ''}".rstrip()
        return cls(engine, model if model is not None and model in replica.models else OTHER, dialect)


class Drifts:
    """Counts drifts; combinations are as many as replicas serve.

    What is off stays off until the process ends: somebody has to look, or to install another engine.
    """

    def __init__(self, on_off: Callable[[Combination], None]) -> None:
        self._on_off = on_off
        self._recent: dict[Combination, tuple[int, int]] = {}
        """Drifts, and calls since the last of them, where there were any."""
        self.off: set[Combination] = set()
        """Those of which nothing may be early."""
        self.totals: dict[Combination, int] = {}
        """All drifts so far."""

    def wrote(self, combination: Combination, num_calls: int, num_drifts: int) -> None:
        """An answer had so many calls, of which so many drifted."""
        if not num_drifts and combination not in self._recent:
            return
        drifts, quiet = self._recent.get(combination, (0, 0))
        if not num_drifts:
            if quiet + num_calls >= QUIET_CALLS:
                del self._recent[combination]
            else:
                self._recent[combination] = (drifts, quiet + num_calls)
            return
        self.totals[combination] = self.totals.get(combination, 0) + num_drifts
        self._recent[combination] = (drifts + num_drifts, 0)
        if drifts + num_drifts >= MAX_DRIFTS and combination not in self.off:
            self.off.add(combination)
            self._on_off(combination)
