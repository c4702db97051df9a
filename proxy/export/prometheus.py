"""Prometheus metrics: counters where things happen, gauges read from the fleet and the index when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.exposition import Format, rendered
from turnwise.admin.families import counter, gauge
from turnwise.errors import Reason
from turnwise.index import KvIndex
from turnwise.proxy.export.breaks import BreakTotals
from turnwise.proxy.export.calls import CallTotals
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.member import FEED_STATES
from turnwise.proxy.states import State, replica_states
from turnwise.types import Outcome, ReplicaId


class Metrics:
    """All metrics of one proxy, in a registry of its own."""

    def __init__(self) -> None:
        # Without this each counter has a second family, `_created`, that is documented nowhere and doubles the page.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.calls = CallTotals()
        self.registry.register(self.calls)
        self.breaks = BreakTotals()
        self.registry.register(self.breaks)
        self._refused = self._counter(names.REFUSED)
        self._attempts_failed = self._counter(names.ATTEMPTS_FAILED)
        self._feed_batches = self._counter(names.FEED_BATCHES)
        self._feed_gaps = self._counter(names.FEED_GAPS)
        self._feed_ignored = self._counter(names.FEED_IGNORED)
        self._feed_restarts = self._counter(names.FEED_RESTARTS)
        self._feed_dropped = self._counter(names.FEED_DROPPED)

    def watch(self, gauges: Collector) -> None:
        """Read `gauges` at every scrape."""
        self.registry.register(gauges)

    def render(self, form: Format = Format.PLAIN) -> bytes:
        """All metrics as a page for Prometheus."""
        return rendered(self.registry, form)

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

    def feed_ignored(self, replica: ReplicaId, why: str) -> None:
        """Count a batch that was repeated or late."""
        self._feed_ignored.labels(replica, why).inc()

    def feed_restart(self, replica: ReplicaId) -> None:
        """Count an event sequence that began anew."""
        self._feed_restarts.labels(replica).inc()

    def feed_dropped(self, replica: ReplicaId, why: str, count: int) -> None:
        """Count events that were left out of their batch."""
        self._feed_dropped.labels(replica, why).inc(count)

    def _counter(self, metric: names.Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)


class Gauges(Collector):
    """What the fleet and the index are right now."""

    def __init__(
        self,
        fleet: Fleet,
        index: KvIndex,
        calls: CallTotals,
        *,
        clock: Callable[[], float],
        num_connections: Callable[[], int],
    ) -> None:
        self._fleet = fleet
        self._index = index
        self._calls = calls
        self._clock = clock
        self._num_connections = num_connections

    def collect(self) -> Iterator[Family]:
        """Read every gauge once."""
        stats = self._index.stats()
        now = self._clock()
        members = self._fleet.members.values()
        yield gauge(names.RUNNING, {(member.id,): member.num_running - member.elsewhere.num_running for member in members})
        rates = {member: self._fleet.prefill_tokens_per_s(member) for member in members}
        yield gauge(
            names.PENDING_PREFILL,
            {
                (member.id,): member.pending_prefill_tokens(now, rate) - member.elsewhere.pending_tokens
                for member, rate in rates.items()
            },
        )
        yield gauge(names.PREFILL_RATE, {(member.id,): rate for member, rate in rates.items()})
        yield gauge(
            names.TRANSFER_RATE,
            {(member.id, medium): seen.tokens_per_s for member in members for medium, seen in member.loading.stats.items()},
        )
        yield gauge(names.ROUTABLE, {(member.id,): float(member.is_routable(now)) for member in members})
        yield gauge(
            names.FEED_STATE,
            {(member.id, state): float(member.feed == state) for member in members for state in FEED_STATES},
        )
        states = {
            member.id: replica_states(member, stats.replicas.get(member.id), self._calls.answered(member.id), now)
            for member in members
        }
        yield gauge(
            names.REPLICA_STATE,
            {(name, state.value): float(state in found) for name, found in states.items() for state in State},
        )
        replicas = stats.replicas.items()
        yield gauge(names.INDEX_BLOCKS, {(name,): replica.num_blocks for name, replica in replicas})
        slower: dict[tuple[str, ...], float] = {}
        for name, replica in replicas:
            slower[name, "dram"], slower[name, "disk"] = replica.num_dram_blocks, replica.num_disk_blocks
            slower[name, "elsewhere"] = replica.num_blocks_elsewhere
        yield gauge(names.INDEX_SLOWER_BLOCKS, slower)
        yield gauge(names.INDEX_COPIES, {(name,): replica.num_copies for name, replica in replicas})
        yield counter(names.INDEX_EVICTED, {(): stats.num_evicted_blocks})
        yield gauge(names.INDEX_PREDICTED, {(name,): replica.num_predicted_tokens for name, replica in replicas})
        yield gauge(names.EFFECTIVE_TOKENS, {(name,): replica.effective_tokens for name, replica in replicas})
        yield gauge(names.OFFLOAD_TOKENS, {(name,): replica.offload_tokens for name, replica in replicas})
        yield gauge(names.EVICTION_RATE, {(name,): replica.evicted_tokens_per_s for name, replica in replicas})
        yield counter(names.SILENT_RESTARTS, {(name,): replica.num_silent_restarts for name, replica in replicas})
        yield counter(names.UNEXPLAINED_LOSSES, {(name,): replica.num_unexplained_losses for name, replica in replicas})
        sources = {(name, source.source.value): source for name, replica in replicas for source in replica.loop}
        yield counter(
            names.SOURCE_HITS,
            {(*labels, "predicted"): source.predicted_tokens for labels, source in sources.items()}
            | {(*labels, "reported"): source.reported_tokens for labels, source in sources.items()},
        )
        yield counter(
            names.SOURCE_ERRORS,
            {
                (*labels, kind.value): tokens
                for labels, source in sources.items()
                for kind, tokens in source.error_tokens_by_verdict.items()
            },
        )
        yield gauge(names.SOURCE_WEIGHT, {labels: source.weight for labels, source in sources.items()})
        yield gauge(names.INDEX_UNIQUE_BLOCKS, {(): stats.num_unique_blocks})
        yield gauge(names.INDEX_EVIDENCE, {(): stats.num_evidence_entries})
        sizes = {
            "blocks": stats.num_block_bytes,
            "evidence": stats.num_evidence_bytes,
            "predictions": stats.num_predicted_bytes,
        }
        yield gauge(names.INDEX_BYTES, {(what,): size for what, size in sizes.items()})
        yield gauge(names.INDEX_PENDING, {(): stats.num_pending})
        yield gauge(names.INDEX_DOMAINS, {(): stats.num_domains})
        yield counter(names.INDEX_SPLITS, {(): stats.num_splits})
        yield counter(names.REPORTS_ASKED, {(): stats.num_reports_asked})
        yield counter(names.INDEX_MISSING_HEADS, {(): stats.num_missing_heads})
        yield counter(names.INDEX_HOLES, {(): stats.num_holes})
        lessons: dict[tuple[str, ...], float] = {("taught",): stats.num_taught, ("untaught",): stats.num_untaught}
        lessons["contradicted",] = stats.num_contradicted
        yield counter(names.LESSONS, lessons)
        yield gauge(names.TEMPLATES_WHOLE_ONLY, {(): stats.num_templates_whole_only})
        yield counter(
            names.ANSWERS,
            {(kind.value, fate.value): num for kind, fates in stats.answers.items() for fate, num in fates.items()},
        )
        yield gauge(names.HELD_RESPONSES, {(): len(self._fleet.held)})
        yield gauge(names.CONNECTIONS, {(): self._num_connections()})
