# Longer than 300 lines because it is the face of the index: one short method for each thing that is told it or asked of it.
"""The one face of this room: events and settled calls go in, the residency of a prompt comes out."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from turnwise.events import BlocksStored, EventBatch
from turnwise.index.asked import Asked, grouped
from turnwise.index.bounds import trim_blocks, trim_predicted
from turnwise.index.calls import Calls
from turnwise.index.counts import Counts
from turnwise.index.domains import Domains
from turnwise.index.dump import Restored, dump
from turnwise.index.hits import put_hits, put_predicted
from turnwise.index.holdings import Holdings
from turnwise.index.lessons import PendingCall
from turnwise.index.reports import Reports
from turnwise.index.teaching import Teaching
from turnwise.index.values import UNTAUGHT, DomainKey, IndexStats, Lesson, Report
from turnwise.settings import IndexSettings
from turnwise.types import CallId, Digest, Hit, PromptChain, ReplicaId, Residency

MAX_ASKED = 64
"""Sets of replicas kept as grouped: those that serve a model, and what is left of them while some are out."""


class KvIndex:
    """Which replica holds how much of a prompt, from what engines say and from what we sent where."""

    def __init__(self, settings: IndexSettings) -> None:
        self._settings = settings
        self._predicted_ttl_s = settings.predicted_ttl_s
        self._unconfirmed_ttl_s = settings.unconfirmed_ttl_s
        self._counts = Counts()
        self._domains = Domains(settings.bytes_per_token, self._counts)
        self._replicas: dict[ReplicaId, Holdings] = {}
        self._restored = Restored()
        self._reports = Reports()
        self._teaching = Teaching(self._replicas, self._domains, self._counts, self._reports, settings)
        self.late = self._teaching.late
        """See `Teaching.late`."""
        self._calls = Calls(self._replicas, self._regroup)
        self._asked: dict[tuple[ReplicaId, ...], Asked] = {}
        self._stamping: list[Holdings] = []
        """Replicas whose events may bear the stamps of calls."""

    def add_replica(self, replica: ReplicaId, domain: DomainKey, *, num_blocks: int | None, has_events: bool) -> None:
        """Begin to follow a replica whose cache holds `num_blocks`, None if unknown.

        Adding it again changes nothing where the facts are the same, else it starts anew.
        """
        known = self._replicas.get(replica)
        if known is not None:
            if (known.key, known.num_blocks, known.has_events) == (domain, num_blocks, has_events):
                return
            self.remove_replica(replica)
        holdings = self._replicas[replica] = Holdings(
            replica,
            domain,
            num_blocks=num_blocks,
            has_events=has_events,
            domains=self._domains,
            settings=self._settings,
        )
        self._restored.hand_over(holdings)
        self._calls.reweigh(holdings)

    def remove_replica(self, replica: ReplicaId) -> None:
        """Forget a replica at once; `sweep` cleans up after it. An unknown one is ignored."""
        holdings = self._replicas.pop(replica, None)
        if holdings is not None:
            holdings.close()
            self._calls.weighed.pop(replica, None)
            self._reports.forget(replica)
            self._regroup()

    def apply(self, replica: ReplicaId, batch: EventBatch, now: float) -> None:  # noqa: ARG002 - every input carries its time
        """Take in events of one engine step, and finish the lessons that waited for them.

        Where a removal among them could not be read, what was known of the replica is dropped, as after a gap. Events of an
        unknown replica are ignored: it has just left.
        """
        holdings = self._replicas.get(replica)
        if holdings is None:
            return
        num_moves = holdings.num_moves
        stamped: dict[str, None] = {}
        for event in batch.events:
            call_id = None
            if isinstance(event, BlocksStored) and (call_id := event.call_id) is not None and call_id not in stamped:
                self._calls.look(call_id, holdings, event)
                stamped[call_id] = None
            holdings.apply(event, is_report=call_id is not None and self._reports.is_booked(call_id))
        if batch.hides_removal:
            holdings.drop()  # any of its blocks may be gone
        if holdings.num_moves != num_moves:
            self._regroup()
        for call_id in stamped:
            self._teaching.hear(call_id, replica)

    def drop_blocks(self, replica: ReplicaId) -> None:
        """The replica holds nothing, confirmed or predicted: it has restarted or cleared its cache."""
        holdings = self._replicas.get(replica)
        if holdings is not None:
            holdings.drop()
            self._reports.forget(replica)
            self._regroup()

    def set_stale(self, replica: ReplicaId, is_stale: bool) -> None:  # noqa: FBT001 - the one thing it sets
        """Say whether the replica's feed is down: what it confirmed is then ignored, and predictions live longer."""
        holdings = self._replicas.get(replica)
        if holdings is not None and holdings.is_stale != is_stale:
            holdings.is_stale = is_stale
            if holdings.is_confirmed:
                holdings.capacity.restate()
            self._regroup()

    def dump(self) -> bytes:
        """All that engines have said and taught, for `restore`; what is predicted is left out."""
        return dump(self._domains, self._replicas.values())

    def restore(self, data: bytes, now: float) -> list[ReplicaId]:
        """Take in what `dump` gave, before any replica is added; returns the replicas that it knew.

        Each waits to be added again with the same facts, and is believed again once `trust` is called. Raises `ValueError`
        saying what is wrong with `data`; nothing of it is taken in then.
        """
        return self._restored.restore(data, self._domains, self._settings.max_blocks_per_replica, now)

    def is_restored(self, replica: ReplicaId) -> bool:
        """Whether its blocks were restored and are not trusted yet."""
        holdings = self._replicas.get(replica)
        return holdings is not None and not holdings.is_trusted

    def trust(self, replica: ReplicaId) -> None:
        """Believe what was restored of a replica: its engine's events go on where they were."""
        holdings = self._replicas.get(replica)
        if holdings is not None and not holdings.is_trusted:
            holdings.is_trusted = True
            self._regroup()

    def residency(self, chain: PromptChain | None, replicas: Sequence[ReplicaId], now: float) -> Residency:
        """What each of `replicas` is believed to hold of a prompt, in tokens that its engine could skip.

        A hit is never the whole prompt, since engines compute at least its last token; where the block size is known it is a
        whole number of blocks.
        """
        names = tuple(replicas)
        asked = self._asked.get(names) or self._ask(names)
        hits = asked.no_hits.copy()
        if chain is None or not chain.digests:
            return Residency(0, False, 0, hits)
        prompt_tokens: int | None = None
        is_taught = False
        computed_tokens = 0
        surest: tuple[tuple[int, int], ...] = ()
        num_bytes = chain.ends[-1]
        since, since_events = now - self._predicted_ttl_s, now - self._unconfirmed_ttl_s
        for members in asked.groups:
            domain = members.domain
            if domain.evidence.entries:
                known = domain.resolve(chain)
                length = domain.length(chain, known)
                if known.is_taught:
                    is_taught = True
                    computed_tokens = max(computed_tokens, known.taught_blocks * (domain.block_size or 0))
                if prompt_tokens is None or known.anchors[-1:] > surest:
                    surest, prompt_tokens = known.anchors[-1:], length
                put_hits(members, known, chain, length, since, since_events, hits)
                continue
            length = int(num_bytes / domain.rate.value)
            if prompt_tokens is None:
                prompt_tokens = length
            put_predicted(members, chain, length, since, hits)
        if prompt_tokens is None:
            prompt_tokens = round(num_bytes / self._settings.bytes_per_token)
        if self._calls.weighed:
            self._calls.weigh(chain, hits)
        return Residency(prompt_tokens, is_taught, computed_tokens, hits)

    def book(
        self,
        call_id: CallId,
        chain: PromptChain | None,
        replica: ReplicaId,
        prompt_tokens: int,
        now: float,
        *,
        predicted: Hit | None = None,
        reports: bool = False,
    ) -> None:
        """A prompt of about `prompt_tokens` goes to `replica`: predict at once that it will be held there.

        `predicted` is what the decision went by, None where a sibling decided. `reports` is whether the call was told to
        report all its blocks.
        """
        if reports:
            self._reports.book(call_id)
        holdings = self._replicas.get(replica)
        if holdings is not None and chain is not None and chain.digests:
            domain = holdings.domain
            anchors = domain.resolve(chain).anchors if domain.evidence.entries else ()
            holdings.predicted.book(chain, prompt_tokens, now, anchors)
            if predicted is not None or holdings.has_events:  # else nothing can be found out by it
                self._calls.book(call_id, chain, holdings, prompt_tokens, predicted, now)

    def wants_report(self, chain: PromptChain | None, replica: ReplicaId) -> bool:
        """Whether a call with this prompt should be told to report all its blocks, cached ones too; counts as asked if so.

        True once where an earlier call of this prompt, or of a beginning of it, could not be taught by `replica` since the
        head of its chain was never seen, or since all of it was cached before anything was known of it.
        """
        if chain is None or not self._reports.marks:
            return False
        holdings = self._replicas.get(replica)
        if holdings is None or not holdings.is_confirmed or not self._reports.wants(replica, chain):
            return False
        self._counts.num_reports_asked += 1
        return True

    def settle(self, call_id: CallId, chain: PromptChain | None, replica: ReplicaId, report: Report, now: float) -> Lesson:
        """A call was answered: learn its lengths, correct what was predicted, and teach its block chain.

        Events that come later still teach.
        """
        holdings = self._replicas.get(replica)
        if holdings is None or chain is None or not chain.digests:
            self.forget_call(call_id)
            return UNTAUGHT
        if report.prompt_tokens is not None:
            holdings.domain.rate.learn(chain.ends[-1], report.prompt_tokens)
        num_restarts = holdings.capacity.num_restarts
        had_tier = not holdings.has_events and holdings.has_hidden_tier
        expected = holdings.settle(chain, report, now)
        if not holdings.has_events and holdings.has_hidden_tier is not had_tier:
            self._calls.reweigh(holdings)
        if expected and report.cached_tokens is not None and not holdings.has_events:
            self._calls.weigh_predicted(holdings, expected, report.cached_tokens)
        finding = self._calls.settle(call_id, holdings, report, now)
        if holdings.has_events:
            lesson = self._teaching.settle(call_id, PendingCall(chain, replica, report, now))
        else:
            self._counts.num_untaught += 1
            lesson = UNTAUGHT
        has_restarted = holdings.capacity.num_restarts != num_restarts
        if finding is None and not has_restarted:
            return lesson
        return replace(lesson, finding=finding, has_restarted=has_restarted)

    def forget_call(self, call_id: CallId) -> None:
        """A call failed: drop what its stamps collected, wherever it was tried."""
        for holdings in self._stamping:
            holdings.stamps.forget(call_id)
        self._teaching.forget(call_id)
        self._calls.drop(call_id)

    def retire(self, digests: Sequence[Digest], kept: int) -> None:
        """Forget first what is predicted behind the first `kept` segments of a prompt; what engines confirmed is theirs."""
        for holdings in self._replicas.values():
            holdings.predicted.retire(digests, kept)

    def sweep(self, now: float, max_blocks: int = 128) -> bool:
        """A slice of background work: retired blocks, expired predictions, calls that waited too long; True if more is left."""
        left = max_blocks
        self._restored.sweep(now)
        for domain in self._domains:
            left = domain.index.sweep(left)
        for holdings in self._replicas.values():
            left = holdings.predicted.sweep(now - self._predicted_ttl_s, left)
        left = trim_blocks([domain.index for domain in self._domains], self._settings.max_block_bytes, left)
        predicted = [holdings.predicted for holdings in self._replicas.values()]
        left = trim_predicted(predicted, self._settings.max_predicted_bytes, left)
        left = self._teaching.sweep(now, left)
        left = self._calls.sweep(now, left, self._predicted_ttl_s)
        self._domains.prune()
        return left <= 0

    def stats(self) -> IndexStats:
        """Counts and sizes for metrics and the admin API."""
        domains, counts = list(self._domains), self._counts
        return IndexStats(
            replicas=self._reports.counted({replica: holdings.stats for replica, holdings in self._replicas.items()}),
            num_domains=len(domains),
            num_splits=counts.num_splits,
            num_unique_blocks=sum(domain.index.num_unique_blocks for domain in domains),
            num_evicted_blocks=counts.num_evicted_blocks,
            num_holes=counts.num_holes,
            num_block_bytes=sum(domain.index.num_bytes for domain in domains),
            num_evidence_entries=sum(len(domain.evidence) for domain in domains),
            num_evidence_bytes=sum(domain.evidence.num_bytes for domain in domains),
            num_predicted_segments=sum(holdings.predicted.num_segments for holdings in self._replicas.values()),
            num_predicted_bytes=sum(holdings.predicted.num_bytes for holdings in self._replicas.values()),
            num_taught=counts.num_taught,
            num_untaught=counts.num_untaught,
            num_contradicted=counts.num_contradicted,
            num_pending=self._teaching.num_pending,
            num_missing_heads=counts.num_missing_heads,
            num_templates_whole_only=sum(domain.evidence.trust.num_whole_only for domain in domains),
            num_reports_asked=counts.num_reports_asked,
            answers={kind: dict(fates) for kind, fates in counts.answers.items()},
        )

    def _ask(self, replicas: tuple[ReplicaId, ...]) -> Asked:
        if len(self._asked) >= MAX_ASKED:
            self._asked.clear()
        asked = self._asked[replicas] = grouped(replicas, self._replicas)
        return asked

    def _regroup(self) -> None:
        """What replicas are grouped by has changed."""
        self._asked.clear()
        self._stamping = [holdings for holdings in self._replicas.values() if holdings.has_events]
