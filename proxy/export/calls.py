"""What ended calls add up to: plain numbers while calls run, Prometheus families when somebody scrapes.

A counter of the client library costs 0.6 us for each increment and a histogram 1.5, and a call makes ten of them; here all
of a call's cost one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeVar

from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from turnwise import names
from turnwise.errors import Reason
from turnwise.proxy.export.families import counter
from turnwise.types import DialectName, Hit, HitSource, Outcome, ReplicaId, Usage

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 600.0)
PROXY_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

Label = TypeVar("Label", bound=str)
T = TypeVar("T")


class Buckets:
    """A histogram's numbers: how many values fell into each bucket, the last of which has no bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value; one that equals a bound is within it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: tuple[str, ...]) -> None:
        """Add these numbers to a family as cumulative buckets."""
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append((floatToGoString(bound), total))  # type: ignore[no-untyped-call]
        family.add_metric(labels, buckets, self._sum)


class CallTotals(Collector):
    """All that is counted of ended calls; a series begins with the first call that has something to add to it."""

    def __init__(self) -> None:
        self._calls: dict[tuple[DialectName, ReplicaId, int | None, str], int] = defaultdict(int)
        self._unhashed_bytes: dict[DialectName, int] = defaultdict(int)
        self._call_seconds: dict[DialectName, Buckets] = defaultdict(_latencies)
        self._first_token_seconds: dict[DialectName, Buckets] = defaultdict(_latencies)
        self._proxy_seconds = Buckets(PROXY_BUCKETS)
        self._prompt_tokens: dict[ReplicaId, int] = defaultdict(int)
        self._completion_tokens: dict[ReplicaId, int] = defaultdict(int)
        self._cached_tokens: dict[ReplicaId, int] = defaultdict(int)
        self._predicted_tokens: dict[tuple[ReplicaId, HitSource], int] = defaultdict(int)
        self._tokens_over: dict[ReplicaId, int] = defaultdict(int)
        self._tokens_under: dict[ReplicaId, int] = defaultdict(int)

    def add(self, outcome: Outcome) -> None:
        """Count a call whose last attempt has ended."""
        request, replica, fault = outcome.request, outcome.placement.replica, outcome.fault
        dialect, arrived_at = request.dialect, request.arrived_at
        reason = Reason.CLIENT_GONE.value if outcome.is_client_gone else "" if fault is None else fault.reason.value
        self._calls[dialect, replica, outcome.status, reason] += 1
        self._unhashed_bytes[dialect] += request.unhashed_bytes
        self._call_seconds[dialect].observe(outcome.ended_at - arrived_at)
        if outcome.sent_at is not None:
            self._proxy_seconds.observe(outcome.sent_at - arrived_at)
        if request.is_stream and outcome.first_token_at is not None:
            self._first_token_seconds[dialect].observe(outcome.first_token_at - arrived_at)
        if outcome.usage is not None:
            self._add_tokens(outcome.usage, outcome.placement.hit, replica)

    def _add_tokens(self, usage: Usage, hit: Hit, replica: ReplicaId) -> None:
        self._prompt_tokens[replica] += usage.prompt_tokens
        self._completion_tokens[replica] += usage.completion_tokens
        self._predicted_tokens[replica, hit.source] += hit.tokens
        if usage.cached_tokens is None:
            return
        self._cached_tokens[replica] += usage.cached_tokens
        error = hit.tokens - usage.cached_tokens
        if error > 0:
            self._tokens_over[replica] += error
        else:
            self._tokens_under[replica] -= error

    def collect(self) -> Iterator[Family]:
        """Every family as it stands."""
        yield counter(
            names.CALLS,
            {
                (dialect, replica, "" if status is None else str(status), reason): count
                for (dialect, replica, status, reason), count in self._calls.items()
            },
        )
        yield counter(names.UNHASHED_BYTES, _labelled(self._unhashed_bytes))
        yield _histogram(names.CALL_SECONDS, _labelled(self._call_seconds))
        yield _histogram(names.FIRST_TOKEN_SECONDS, _labelled(self._first_token_seconds))
        yield _histogram(names.PROXY_SECONDS, {(): self._proxy_seconds})
        yield counter(names.PROMPT_TOKENS, _labelled(self._prompt_tokens))
        yield counter(names.COMPLETION_TOKENS, _labelled(self._completion_tokens))
        yield counter(names.CACHED_TOKENS, _labelled(self._cached_tokens))
        yield counter(names.PREDICTED_TOKENS, self._predicted_tokens)
        yield counter(
            names.PREDICTION_ERROR_TOKENS,
            {
                **_labelled(self._tokens_over, "over"),
                **_labelled(self._tokens_under, "under"),
            },
        )


def _latencies() -> Buckets:
    return Buckets(LATENCY_BUCKETS)


def _labelled(values: Mapping[Label, T], *more: str) -> dict[tuple[str, ...], T]:
    return {(label, *more): value for label, value in values.items()}


def _histogram(metric: names.Metric, values: Mapping[tuple[str, ...], Buckets]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, buckets in values.items():
        buckets.add_to(family, labels)
    return family
