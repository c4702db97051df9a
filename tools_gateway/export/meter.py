"""What happened to calls, counted as they end; read when somebody scrapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.buckets import Buckets, histogram
from turnwise.admin.families import counter
from turnwise.tools_gateway.messages import How, Void
from turnwise.tools_gateway.values import AnnouncementEnd, Called, Fate, Fault, Tool, UpstreamName

RUN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 150.0, 600.0)
"""Seconds: a look into memory to the longest build."""

MAX_TOOLS = 1024
"""Tools that are counted by name; what more there are is counted together."""

OTHER = "(other)"

JOINED, UNCLAIMED = "joined", "unclaimed"


class ToolCounts:
    """One tool."""

    __slots__ = ("calls", "early", "last_fault", "last_fault_at", "not_early", "over_s", "places", "runs", "saved_s", "under_s")

    def __init__(self) -> None:
        self.calls: Counter[tuple[How, Fate, Fault | None]] = Counter()
        self.early: Counter[str] = Counter()
        """Early runs by what became of them: `JOINED`, `UNCLAIMED` or why they were void."""
        self.not_early: Counter[str] = Counter()
        self.runs = Buckets(RUN_BUCKETS)
        self.places: Counter[str] = Counter()
        self.over_s = self.under_s = 0.0
        self.saved_s = 0.0
        self.last_fault: Fault | None = None
        self.last_fault_at = 0.0

    @property
    def num_calls(self) -> int:
        """Calls of agents that ended."""
        return sum(self.calls.values())

    def num(self, how: How) -> int:
        """Those whose runs came about so."""
        return sum(num for (each, _, _), num in self.calls.items() if each is how)


class CallMeter(Collector):
    """Implements `ports.Meter`; a series begins with the first that has something to say of it."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tools: dict[str, ToolCounts] = {}
        self._queues: dict[UpstreamName, Buckets] = {}
        self._refused: Counter[Fault] = Counter()
        self.announcements: Counter[AnnouncementEnd] = Counter()

    def counts(self, name: str) -> ToolCounts | None:
        """What was counted of the tool of this public name."""
        return self._tools.get(name)

    def called(self, tool: Tool, done: Called) -> None:
        """An agent's call has ended."""
        counts = self._counts(tool.name)
        counts.calls[done.how, done.fate, done.fault] += 1
        counts.saved_s += done.saved_s
        if done.how is How.EARLY:
            counts.early[JOINED] += 1
        if done.fault is not None:
            counts.last_fault, counts.last_fault_at = done.fault, self._clock()
        if done.queued_s is not None:
            queue = self._queues.get(tool.key.upstream)
            if queue is None:
                queue = self._queues[tool.key.upstream] = Buckets(RUN_BUCKETS)
            queue.observe(done.queued_s)
        if done.run_s is None:
            return
        counts.runs.observe(done.run_s)
        if done.forecast is not None and done.fate is Fate.SUCCESS:
            expected, took = done.forecast, done.run_s
            counts.places["below" if took < expected.p10_s else "above" if took > expected.p90_s else "within"] += 1
            counts.over_s += max(0.0, expected.p50_s - took)
            counts.under_s += max(0.0, took - expected.p50_s)

    def refused(self, fault: Fault) -> None:
        """A call was not made, of whatever tool: its name may be anything."""
        self._refused[fault] += 1

    def early_ended(self, tool: Tool, why: Void | None) -> None:
        """An early run was given to nobody: void for this reason, or for None because nobody asked for it in time."""
        self._counts(tool.name).early[UNCLAIMED if why is None else why.value] += 1

    def not_early(self, tool: Tool, why: str) -> None:
        """An announced call whose arguments had closed waits for its agent; `why` is one word of a closed list."""
        self._counts(tool.name).not_early[why] += 1

    def announcement_ended(self, end: AnnouncementEnd) -> None:
        """An announcement is no longer waited for."""
        self.announcements[end] += 1

    def collect(self) -> Iterator[Family]:
        """Read everything once."""
        tools = self._tools
        yield counter(
            names.TOOL_CALLS,
            {
                (name, how.value, fate.value, fault.value if fault else ""): num
                for name, counts in tools.items()
                for (how, fate, fault), num in counts.calls.items()
            },
        )
        yield counter(names.TOOL_REFUSED, {(fault.value,): num for fault, num in self._refused.items()})
        yield histogram(names.TOOL_RUN_SECONDS, {(name,): counts.runs for name, counts in tools.items()})
        yield histogram(names.TOOL_QUEUE_SECONDS, {(upstream,): queue for upstream, queue in self._queues.items()})
        yield counter(names.TOOL_EARLY_RUNS, _split(tools, lambda counts: counts.early))
        yield counter(names.TOOL_NOT_EARLY, _split(tools, lambda counts: counts.not_early))
        yield counter(names.TOOL_SAVED_SECONDS, {(name,): counts.saved_s for name, counts in tools.items()})
        yield counter(names.TOOL_PREDICTIONS, _split(tools, lambda counts: counts.places))
        yield counter(
            names.TOOL_PREDICTION_ERROR_SECONDS,
            _split(tools, lambda counts: {"over": counts.over_s, "under": counts.under_s} if counts.places else {}),
        )
        yield counter(names.TOOL_ANNOUNCEMENTS, {(end.value,): num for end, num in self.announcements.items()})

    def _counts(self, name: str) -> ToolCounts:
        counts = self._tools.get(name)
        if counts is None:
            if len(self._tools) >= MAX_TOOLS:
                name = OTHER
            counts = self._tools.setdefault(name, ToolCounts())
        return counts


def _split(tools: Mapping[str, ToolCounts], parts: Callable[[ToolCounts], Mapping[str, float]]) -> dict[tuple[str, str], float]:
    return {(name, part): value for name, counts in tools.items() for part, value in parts(counts).items()}
