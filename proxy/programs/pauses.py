"""How long tools run, as calls tell: from the gap between two calls where clients run them, else as a gateway measured.

With that, the proxy knows when a program that waits for a tool will come back.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Self

import msgspec

from turnwise.events import ToolHow, ToolStep
from turnwise.proxy.programs.lines import BEGUN
from turnwise.proxy.programs.values import Call, Waiting
from turnwise.settings import ToolSettings
from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.values import Fate, ToolKey, UpstreamName

OWN = frozenset({ToolHow.ASKED, ToolHow.EARLY})
"""Runs that took their own time; what was shared or remembered tells nothing."""

AT_ONCE = 32
"""Calls that are learned from together: a quarter of a millisecond where each brings one result."""

MAX_RUNS = 8
"""Runs of one call that are learned from: parallel ones are much alike."""


class Source(StrEnum):
    """Where a run time is from."""

    INFERRED = "inferred"
    """The gap between the answer that called the tool and the call that brings its result: what the client did is in it."""
    MEASURED = "measured"
    """A gateway told."""


class ToolPause(msgspec.Struct, frozen=True, gc=False):
    """What is known of one tool of one tenant; seconds."""

    tenant: str
    tool: str
    source: Source
    n: float
    """Runs that it rests on, decayed."""
    p50_s: float
    p90_s: float
    p99_s: float


class Left(msgspec.Struct, frozen=True, gc=False):
    """How long a tool is expected to run on, and who says so."""

    seconds: float
    source: Source


class Pauses:
    """Learns from the runs of finished calls; knows `max_tools` of each source, those that ran last.

    A run costs 8 us to learn from, so that is done between calls: of the newest `AT_ONCE` calls since `work` was last called,
    which is once a second. Of more, that many tell how long tools run as well as all.
    """

    def __init__(self, max_tools: int) -> None:
        self._max_tools = max_tools
        self._ended: deque[tuple[str, Call]] = deque(maxlen=AT_ONCE)
        self._tables = {source: RunTable(max_tools=max_tools) for source in Source}
        self._keys: dict[Source, dict[ToolKey, None]] = {source: {} for source in Source}
        """The tool that has not run for longest first, as the tables forget them."""

    @classmethod
    def of(cls, settings: ToolSettings) -> Self | None:
        """As set; None where nothing shall be learned."""
        return cls(settings.max_learned) if settings.max_learned else None

    def learn(self, tenant: str, call: Call) -> None:
        """A call has ended that brings results of tools."""
        self._ended.append((tenant, call))

    def work(self) -> None:
        """Learn from the calls that have ended."""
        while self._ended:
            self._learn(*self._ended.popleft())

    def _learn(self, tenant: str, call: Call) -> None:
        for run in call.runs[:MAX_RUNS]:
            if run.is_conversation or run.how not in OWN:
                continue
            source = Source.INFERRED if run.is_inferred else Source.MEASURED
            key = _key(tenant, run.name)
            fate = Fate.SUCCESS if run.is_ok else Fate.ERROR
            self._tables[source].observe(key, run.num_bytes, run.ended_at - run.started_at, fate, call.times.ended)
            keys = self._keys[source]
            keys.pop(key, None)
            keys[key] = None
            if len(keys) > self._max_tools:
                del keys[next(iter(keys))]

    def left(self, tenant: str, waiting: Waiting, now: float) -> Left | None:
        """How long a tool call whose result has not come is expected to take from `now` on; None where nothing is known."""
        self.work()
        told = waiting.told
        if told is not None and told.step is ToolStep.FINISHED:
            return Left(0.0, Source.MEASURED)
        if told is not None and told.remaining_s is not None:
            passed_s = now - told.told_at if told.step in BEGUN else 0.0
            return Left(max(0.0, told.remaining_s - passed_s), Source.MEASURED)
        key, elapsed_s = _key(tenant, waiting.tool), max(0.0, now - waiting.since)
        for source, keys in self._keys.items():
            if key in keys:
                expected = self._tables[source].forecast(key, waiting.num_bytes, elapsed_s=elapsed_s)
                return Left(expected.p50_s, source)
        return None

    def listing(self) -> list[ToolPause]:
        """All that is known, by tenant and tool."""
        self.work()
        found = []
        for source, keys in self._keys.items():
            for key in keys:
                times = self._tables[source].told(key)
                if times is not None and (known := times.forecast).num_samples:
                    found.append(
                        ToolPause(key.upstream, key.tool, source, known.num_samples, known.p50_s, known.p90_s, known.p99_s)
                    )
        return sorted(found, key=lambda pause: (pause.tenant, pause.tool, pause.source))


def _key(tenant: str, tool: str) -> ToolKey:
    """A tenant is to clients' tools what an upstream is to a gateway's."""
    return ToolKey(UpstreamName(tenant), tool)
