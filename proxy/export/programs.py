"""What ended programs and their calls add up to; a listener while they end, Prometheus families when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.buckets import Buckets, histogram
from turnwise.admin.families import counter, gauge
from turnwise.events import ToolHow
from turnwise.proxy.export.calls import LATENCY_BUCKETS, PROXY_BUCKETS
from turnwise.proxy.programs import Programs
from turnwise.proxy.programs.brief import brief
from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.programs.ledger import SECONDS_PER_HOUR
from turnwise.proxy.programs.values import Basis, Call, Ended, Key, Outcome, ToolRun
from turnwise.settings import ProgramSettings
from turnwise.types import DialectName

TOKEN_BUCKETS = (0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
QUEUE_BUCKETS = (*PROXY_BUCKETS, 2.5, 5.0, 10.0, 25.0, 60.0)
PROGRAM_BUCKETS = (*LATENCY_BUCKETS[3:], 1800.0, 3600.0, 7200.0, 21600.0)
COUNT_BUCKETS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 100.0, 200.0, 500.0, 1000.0, 10000.0)

RATIO_BUCKETS = (0.1, 0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)

FORECAST = frozenset({ToolHow.ASKED, ToolHow.EARLY})
"""Runs of their own: how long they take tells whether the forecast was right."""


class ProgramTotals(Collector):
    """All that is counted of programs, a `ProgramListener`; a series begins with the first that has something to say of it."""

    def __init__(self, settings: ProgramSettings) -> None:
        self._final_answer_tools = settings.final_answer_tools
        self._price_per_hour = settings.replica_price_per_hour
        self._inter_token: dict[DialectName, Buckets] = {}
        self._queue = Buckets(QUEUE_BUCKETS)
        self._num_unqueued = 0
        """Calls that were not queued, which are put into its first bucket when somebody asks, and the newest trace of one."""
        self._unqueued: bytes | None = None
        self._ended: dict[tuple[Basis, Outcome], int] = {}
        self._makespans: dict[Outcome, Buckets] = {}
        self._first_results = Buckets(PROGRAM_BUCKETS)
        self._calls = Buckets(COUNT_BUCKETS)
        self._tool_runs = Buckets(COUNT_BUCKETS)
        self._runs: dict[str, int] = {}
        self._saved_s = 0.0
        self._predicted: dict[ToolHow, Buckets] = {}
        self._path: dict[Cause, float] = {}
        self._engine = Buckets(PROGRAM_BUCKETS)
        self._cost = 0.0

    def call_ended(self, key: Key, call: Call) -> None:
        """Count a call: how long it was queued, and the pace of its tokens where it streamed more than one to its end."""
        times = call.times
        trace_id = key.trace_id if key.is_sampled else None
        if times.admitted == times.read:
            self._num_unqueued += 1
            if trace_id is not None:
                self._unqueued = trace_id
        else:
            self._queue.observe(times.admitted - times.read, trace_id)
        if call.is_stream:
            first, last, tokens = times.first_token, times.last_byte, call.completion_tokens
            if tokens and tokens > 1 and first is not None and last is not None and not call.reason:
                buckets = self._inter_token.get(call.dialect)
                if buckets is None:
                    buckets = self._inter_token[call.dialect] = Buckets(TOKEN_BUCKETS)
                buckets.observe((last - first) / (tokens - 1), trace_id)
        if call.runs:
            for run in call.runs:
                if not run.is_conversation:
                    self._ran(run)

    def _ran(self, run: ToolRun) -> None:
        """Count a tool run; what was remembered or shared took what another run had taken."""
        self._count("inferred" if run.is_inferred else run.how.value)
        self._saved_s += run.saved_s
        if run.predicted_s and run.is_ok and run.how in FORECAST:
            buckets = self._predicted.get(run.how)
            if buckets is None:
                buckets = self._predicted[run.how] = Buckets(RATIO_BUCKETS)
            buckets.observe((run.ended_at - run.started_at) / run.predicted_s)

    def _count(self, how: str) -> None:
        self._runs[how] = self._runs.get(how, 0) + 1

    def program_ended(self, ended: Ended) -> None:
        """Count a program; one of which no call ended has nothing to account for but its end."""
        key = ended.key
        kind = (key.basis, ended.outcome)
        self._ended[kind] = self._ended.get(kind, 0) + 1
        for run in ended.voided:
            self._count(run.waste)
        if not ended.calls:
            return
        sums = brief(ended.calls, key.started_at, self._final_answer_tools)
        trace_id = key.trace_id if key.is_sampled else None
        makespans = self._makespans.get(ended.outcome)
        if makespans is None:
            makespans = self._makespans[ended.outcome] = Buckets(PROGRAM_BUCKETS)
        makespans.observe(sums.makespan_s, trace_id)
        if sums.ftr_s is not None:
            self._first_results.observe(sums.ftr_s, trace_id)
        self._calls.observe(len(ended.calls), trace_id)
        self._tool_runs.observe(sums.tool_runs, trace_id)
        for cause, seconds in sums.causes.items():
            self._path[cause] = self._path.get(cause, 0.0) + seconds
        self._engine.observe(sums.engine_s, trace_id)
        self._cost += sums.engine_s * self._price_per_hour / SECONDS_PER_HOUR

    def collect(self) -> Iterator[Family]:
        """Every family as it stands."""
        if self._num_unqueued:
            self._queue.observe(0.0, self._unqueued)
            self._queue.counts[0] += self._num_unqueued - 1
            self._num_unqueued, self._unqueued = 0, None
        yield histogram(names.INTER_TOKEN_SECONDS, {(name.value,): found for name, found in self._inter_token.items()})
        yield histogram(names.QUEUE_SECONDS, {(): self._queue})
        yield counter(names.PROGRAMS, {(basis.value, outcome.value): count for (basis, outcome), count in self._ended.items()})
        yield histogram(names.PROGRAM_SECONDS, {(outcome.value,): found for outcome, found in self._makespans.items()})
        yield histogram(names.PROGRAM_FIRST_RESULT_SECONDS, {(): self._first_results})
        yield histogram(names.PROGRAM_CALLS, {(): self._calls})
        yield histogram(names.PROGRAM_TOOL_RUNS, {(): self._tool_runs})
        yield counter(names.RUNS_BY_HOW, {(how,): count for how, count in self._runs.items()})
        yield counter(names.RUNS_SAVED_SECONDS, {(): self._saved_s})
        yield histogram(names.RUNS_PREDICTION_RATIO, {(how.value,): found for how, found in self._predicted.items()})
        yield counter(names.PROGRAM_PATH_SECONDS, {(cause.value,): seconds for cause, seconds in self._path.items()})
        yield histogram(names.PROGRAM_ENGINE_SECONDS, {(): self._engine})
        if self._price_per_hour:
            yield counter(names.PROGRAM_COST, {(): self._cost})


class ProgramFigures(Collector):
    """What is known of programs when somebody scrapes."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def collect(self) -> Iterator[Family]:
        """Read all of it once."""
        stats = self._programs.stats
        yield gauge(names.LIVE_PROGRAMS, {(): stats.live})
        yield counter(names.IDENTIFIED_CALLS, {(basis.value,): count for basis, count in stats.calls.items()})
        yield counter(names.IDS_IGNORED, {(reason.value,): count for reason, count in stats.ignored.items()})
        yield counter(names.HINTS_IGNORED, {(hint.value,): count for hint, count in stats.malformed_hints.items()})
