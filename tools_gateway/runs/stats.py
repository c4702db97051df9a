"""What the runs tell of themselves: facts, of which others make metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from turnwise.tools_gateway.messages import How, Void
from turnwise.tools_gateway.runs.rule import NotEarly
from turnwise.tools_gateway.runs.values import Outcome
from turnwise.tools_gateway.values import Fate, Fault, UpstreamName


class Stats(msgspec.Struct, frozen=True):
    """Counts since the start, and how things stand now."""

    calls: Mapping[tuple[UpstreamName, How, Fate], int]
    """Calls of agents that reached a run, by what served them."""
    faults: Mapping[Fault, int]
    """Calls of agents without a result, refused ones included."""
    announced: int
    """Tool calls that proxies told of, of tools that the gateway has."""
    early: int
    """Early runs that began."""
    voids: Mapping[Void, int]
    """Early runs whose result was given to nobody."""
    not_early: Mapping[NotEarly, int]
    """Announced calls with closed arguments that were not run early."""
    running: int
    queued: int
    early_running: int
    """Early runs that nobody has asked for yet, the queued ones included."""
    held_bytes: int
    remembered: int
    """Results."""
    memory_bytes: int
    turns: int
    """Turns of which something is kept."""


class Counts:
    """What is counted, as it happens."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[UpstreamName, How, Fate]] = Counter()
        self.faults: Counter[Fault] = Counter()
        self.announced = 0
        self.early = 0
        self.voids: Counter[Void] = Counter()
        self.not_early: Counter[NotEarly] = Counter()

    def call_ended(self, upstream: UpstreamName, how: How, outcome: Outcome) -> None:
        """An agent's call has its outcome."""
        self.calls[upstream, how, outcome.fate] += 1
        if outcome.fault is not None:
            self.faults[outcome.fault.fault] += 1
