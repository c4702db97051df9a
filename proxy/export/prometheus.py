"""Prometheus metrics: counters where things happen, gauges read from the fleet and the index when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.errors import Reason
from turnwise.index import KvIndex
from turnwise.proxy.fleet import FEED_STATES, Fleet
from turnwise.types import Outcome, ReplicaId

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 600.0)
PROXY_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

AnyFamily = TypeVar("AnyFamily", CounterMetricFamily, GaugeMetricFamily)


class Metrics:
    """All metrics of one proxy, in a registry of its own."""

    def __init__(self) -> None:
        # Without this each counter has a second family, `_created`, that is documented nowhere and doubles the page.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._calls = self._counter(names.CALLS)
        self._refused = self._counter(names.REFUSED)
        self._attempts_failed = self._counter(names.ATTEMPTS_FAILED)
        self._call_seconds = self._histogram(names.CALL_SECONDS, LATENCY_BUCKETS)
        self._first_token_seconds = self._histogram(names.FIRST_TOKEN_SECONDS, LATENCY_BUCKETS)
        self._proxy_seconds = self._histogram(names.PROXY_SECONDS, PROXY_BUCKETS)
        self._prompt_tokens = self._counter(names.PROMPT_TOKENS)
        self._completion_tokens = self._counter(names.COMPLETION_TOKENS)
        self._cached_tokens = self._counter(names.CACHED_TOKENS)
        self._predicted_tokens = self._counter(names.PREDICTED_TOKENS)
        self._prediction_error = self._counter(names.PREDICTION_ERROR_TOKENS)
        self._unhashed_bytes = self._counter(names.UNHASHED_BYTES)
        self._feed_batches = self._counter(names.FEED_BATCHES)
        self._feed_gaps = self._counter(names.FEED_GAPS)
        self._feed_restarts = self._counter(names.FEED_RESTARTS)

    def watch(self, gauges: Collector) -> None:
        """Read `gauges` at every scrape."""
        self.registry.register(gauges)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def call_ended(self, outcome: Outcome) -> None:
        """Count a call whose last attempt has ended."""
        request, replica = outcome.request, outcome.placement.replica
        if outcome.is_client_gone:
            reason = str(Reason.CLIENT_GONE)
        else:
            reason = "" if outcome.fault is None else str(outcome.fault.reason)
        status = "" if outcome.status is None else str(outcome.status)
        self._calls.labels(request.dialect, replica, status, reason).inc()
        self._unhashed_bytes.labels(request.dialect).inc(request.unhashed_bytes)
        self._call_seconds.labels(request.dialect).observe(outcome.ended_at - request.arrived_at)
        if outcome.sent_at is not None:
            self._proxy_seconds.observe(outcome.sent_at - request.arrived_at)
        if outcome.first_token_at is not None and request.is_stream:
            self._first_token_seconds.labels(request.dialect).observe(outcome.first_token_at - request.arrived_at)
        self._tokens(outcome, replica)

    def attempt_failed(self, outcome: Outcome) -> None:
        """Count an attempt after which another replica is tried."""
        reason = "" if outcome.fault is None else str(outcome.fault.reason)
        self._attempts_failed.labels(outcome.placement.replica, reason).inc()

    def refused(self, reason: Reason) -> None:
        """Count a request that the proxy answered with an error of its own."""
        self._refused.labels(str(reason)).inc()

    def feed_batch(self, replica: ReplicaId) -> None:
        """Count an applied batch of events."""
        self._feed_batches.labels(replica).inc()

    def feed_gap(self, replica: ReplicaId) -> None:
        """Count a gap in an event sequence."""
        self._feed_gaps.labels(replica).inc()

    def feed_restart(self, replica: ReplicaId) -> None:
        """Count an event sequence that went back."""
        self._feed_restarts.labels(replica).inc()

    def _tokens(self, outcome: Outcome, replica: ReplicaId) -> None:
        usage, hit = outcome.usage, outcome.placement.hit
        if usage is None:
            return
        self._prompt_tokens.labels(replica).inc(usage.prompt_tokens)
        self._completion_tokens.labels(replica).inc(usage.completion_tokens)
        self._predicted_tokens.labels(replica, str(hit.source)).inc(hit.tokens)
        if usage.cached_tokens is not None:
            self._cached_tokens.labels(replica).inc(usage.cached_tokens)
            error = hit.tokens - usage.cached_tokens
            self._prediction_error.labels(replica, "over" if error > 0 else "under").inc(abs(error))

    def _counter(self, metric: names.Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, metric: names.Metric, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, registry=self.registry, buckets=buckets)


class Gauges(Collector):
    """What the fleet and the index are right now."""

    def __init__(self, fleet: Fleet, index: KvIndex, *, clock: Callable[[], float], num_connections: Callable[[], int]) -> None:
        self._fleet = fleet
        self._index = index
        self._clock = clock
        self._num_connections = num_connections

    def collect(self) -> Iterator[Family]:
        """Read every gauge once."""
        stats = self._index.stats()
        now = self._clock()
        members = self._fleet.members.values()
        yield _gauge(names.RUNNING, {(member.id,): member.num_running for member in members})
        rates = {member: self._fleet.prefill_tokens_per_s(member) for member in members}
        yield _gauge(
            names.PENDING_PREFILL,
            {(member.id,): member.pending_prefill_tokens(now, rate) for member, rate in rates.items()},
        )
        yield _gauge(names.PREFILL_RATE, {(member.id,): rate for member, rate in rates.items()})
        yield _gauge(names.ROUTABLE, {(member.id,): float(member.is_routable(now)) for member in members})
        yield _gauge(
            names.FEED_STATE,
            {(member.id, state): float(member.feed == state) for member in members for state in FEED_STATES},
        )
        replicas = stats.replicas.items()
        yield _gauge(names.INDEX_BLOCKS, {(name,): replica.num_blocks for name, replica in replicas})
        yield _gauge(names.INDEX_PREDICTED, {(name,): replica.num_predicted_tokens for name, replica in replicas})
        yield _gauge(names.INDEX_UNIQUE_BLOCKS, {(): stats.num_unique_blocks})
        yield _gauge(names.INDEX_EVIDENCE, {(): stats.num_evidence_entries})
        yield _gauge(names.INDEX_EVIDENCE_BYTES, {(): stats.num_evidence_bytes})
        yield _gauge(names.INDEX_PENDING, {(): stats.num_pending})
        yield _gauge(names.INDEX_DOMAINS, {(): stats.num_domains})
        yield _counter(names.INDEX_SPLITS, {(): stats.num_splits})
        yield _counter(names.INDEX_MISSING_HEADS, {(): stats.num_missing_heads})
        yield _counter(names.INDEX_HOLES, {(): stats.num_holes})
        lessons: dict[tuple[str, ...], float] = {("taught",): stats.num_taught, ("untaught",): stats.num_untaught}
        lessons["contradicted",] = stats.num_contradicted
        yield _counter(names.LESSONS, lessons)
        yield _gauge(names.HELD_RESPONSES, {(): len(self._fleet.held)})
        yield _gauge(names.CONNECTIONS, {(): self._num_connections()})


def _gauge(metric: names.Metric, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    return _filled(GaugeMetricFamily(metric.name, metric.help, labels=metric.labels), values)


def _counter(metric: names.Metric, values: Mapping[tuple[str, ...], float]) -> CounterMetricFamily:
    return _filled(CounterMetricFamily(metric.name, metric.help, labels=metric.labels), values)


def _filled(family: AnyFamily, values: Mapping[tuple[str, ...], float]) -> AnyFamily:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
