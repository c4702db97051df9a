"""The one face of this room: events and settled calls go in, the residency of a prompt comes out."""

from __future__ import annotations

from collections.abc import Sequence

from turnwise.events import BlocksStored, EventBatch
from turnwise.index.counts import Counts
from turnwise.index.domains import Domain, Domains, Learned
from turnwise.index.evidence import Known
from turnwise.index.holdings import Holdings
from turnwise.index.lessons import PendingCall, PendingCalls
from turnwise.index.masks import slots_of
from turnwise.index.predicted import PredictedRuns
from turnwise.index.values import DomainKey, IndexStats, Lesson
from turnwise.settings import IndexSettings
from turnwise.types import CallId, Hit, HitSource, PromptChain, ReplicaId, Residency

_NO_HIT = Hit()


class KvIndex:
    """Which replica holds how much of a prompt, from what engines say and from what we sent where."""

    def __init__(self, settings: IndexSettings) -> None:
        self._settings = settings
        self._counts = Counts()
        self._domains = Domains(settings.bytes_per_token, self._counts)
        self._predicted = PredictedRuns()
        self._replicas: dict[ReplicaId, Holdings] = {}
        self._pending = PendingCalls()

    def add_replica(self, replica: ReplicaId, domain: DomainKey, *, num_blocks: int | None, has_events: bool) -> None:
        """Begin to follow a replica whose cache holds `num_blocks`, None if unknown.

        Adding it again changes nothing where the facts are the same, else it starts anew.
        """
        known = self._replicas.get(replica)
        if known is not None:
            if (known.key, known.num_blocks, known.has_events) == (domain, num_blocks, has_events):
                return
            self.remove_replica(replica)
        self._replicas[replica] = Holdings(
            replica,
            domain,
            num_blocks=num_blocks,
            has_events=has_events,
            domains=self._domains,
            predicted=self._predicted,
            settings=self._settings,
        )

    def remove_replica(self, replica: ReplicaId) -> None:
        """Forget a replica at once; `sweep` cleans up after it. An unknown one is ignored."""
        holdings = self._replicas.pop(replica, None)
        if holdings is not None:
            holdings.close()

    def apply(self, replica: ReplicaId, batch: EventBatch, now: float) -> None:  # noqa: ARG002 - every input carries its time
        """Take in events of one engine step, and finish the lessons that waited for them.

        Those of an unknown replica are ignored: it has just left.
        """
        holdings = self._replicas.get(replica)
        if holdings is None:
            return
        stamped: dict[str, None] = {}
        for event in batch.events:
            holdings.apply(event)
            if isinstance(event, BlocksStored) and event.call_id is not None:
                stamped[event.call_id] = None
        for call_id in stamped:
            call = self._pending.get(call_id, replica)
            if call is not None:
                self._teach(call_id, call)

    def drop_blocks(self, replica: ReplicaId) -> None:
        """The replica holds nothing, confirmed or predicted: it has restarted or cleared its cache."""
        holdings = self._replicas.get(replica)
        if holdings is not None:
            holdings.drop()

    def set_stale(self, replica: ReplicaId, is_stale: bool) -> None:  # noqa: FBT001 - the one thing it sets
        """Say whether the replica's feed is down: what it confirmed is then ignored, and predictions live longer."""
        holdings = self._replicas.get(replica)
        if holdings is not None:
            holdings.is_stale = is_stale

    def residency(self, chain: PromptChain | None, replicas: Sequence[ReplicaId], now: float) -> Residency:
        """What each of `replicas` is believed to hold of a prompt, in tokens that its engine could skip.

        A hit is never the whole prompt, since engines compute at least its last token; where the block size is known it is a
        whole number of blocks.
        """
        hits = dict.fromkeys(replicas, _NO_HIT)
        if chain is None or not chain.digests:
            return Residency(prompt_tokens=0, is_taught=False, hits=hits)
        members: dict[Domain, dict[ReplicaId, Holdings]] = {}
        runs_wanted = 0
        for replica in hits:
            holdings = self._replicas.get(replica)
            if holdings is not None:
                members.setdefault(holdings.domain, {})[replica] = holdings
                runs_wanted |= 1 << holdings.run_slot
        booked = {slot: depth for mask, depth in self._predicted.depths(chain.digests, runs_wanted) for slot in slots_of(mask)}
        prompt_tokens = round(chain.num_bytes / self._settings.bytes_per_token)
        is_taught = False
        surest: tuple[tuple[int, int], ...] | None = None
        for domain, holders in members.items():
            known = domain.resolve(chain)
            length = domain.length(chain, known)
            is_taught |= known.is_taught
            if surest is None or known.anchors[-1:] > surest:
                surest, prompt_tokens = known.anchors[-1:], length
            depths = self._block_depths(domain, known, holders)
            alike: dict[int, Hit] = {}  # hits by depth: all that differs between replicas for which nothing is predicted
            for replica, holdings in holders.items():
                depth, boundaries = depths.get(holdings.block_slot, 0), booked.get(holdings.run_slot, 0)
                if boundaries:
                    hits[replica] = self._hit(holdings, known, depth, chain, boundaries, length, now)
                elif depth:
                    hit = alike.get(depth)
                    if hit is None:
                        hit = alike[depth] = self._hit(holdings, known, depth, chain, 0, length, now)
                    hits[replica] = hit
        return Residency(prompt_tokens=prompt_tokens, is_taught=is_taught, hits=hits)

    def book(self, chain: PromptChain | None, replica: ReplicaId, prompt_tokens: int, now: float) -> None:
        """A prompt of about `prompt_tokens` goes to `replica`: predict at once that it will be held there."""
        holdings = self._replicas.get(replica)
        if holdings is not None and chain is not None and chain.digests:
            domain = holdings.domain
            tokens = domain.tokens_along(chain, domain.resolve(chain), prompt_tokens)
            self._predicted.book(holdings.run_slot, chain.digests, tokens, now)

    def settle(
        self,
        call_id: CallId,
        chain: PromptChain | None,
        replica: ReplicaId,
        *,
        prompt_tokens: int | None,
        cached_tokens: int | None,
        now: float,
    ) -> Lesson:
        """A call was answered: learn its lengths, correct what was predicted, and teach its block chain.

        The counts are the engine's, None where it gave none. Events that come later still teach.
        """
        holdings = self._replicas.get(replica)
        if holdings is None or chain is None or not chain.digests:
            self.forget_call(call_id)
            return Lesson()
        domain = holdings.domain
        if prompt_tokens is not None:
            domain.rate.learn(chain.num_bytes, prompt_tokens)
        known = domain.resolve(chain)
        if cached_tokens is not None and not (holdings.is_confirmed and known.is_taught):
            self._predicted.correct(holdings.run_slot, chain.digests, cached_tokens)
        tokens = domain.tokens_along(chain, known, prompt_tokens)
        self._predicted.settle(holdings.run_slot, chain.digests, tokens, now)
        return self._teach(call_id, PendingCall(prompt=chain, replica=replica, prompt_tokens=prompt_tokens, since=now))

    def forget_call(self, call_id: CallId) -> None:
        """A call failed: drop what its stamps collected, wherever it was tried."""
        self._pending.pop(call_id)
        for holdings in self._replicas.values():
            holdings.stamps.forget(call_id)

    def sweep(self, now: float, max_blocks: int = 128) -> bool:
        """A slice of background work: retired blocks, expired predictions, calls that waited too long; True if more is left."""
        left = max_blocks
        for domain in self._domains:
            left = domain.index.sweep(left)
        left = self._predicted.sweep(now - self._settings.predicted_ttl_s, left)
        while left > 0 and (expired := self._pending.pop_expired(now)) is not None:
            self._teach(*expired, is_last_chance=True)
            left -= 1
        self._domains.prune()
        return left <= 0

    def stats(self) -> IndexStats:
        """Counts and sizes for metrics and the admin API."""
        domains, counts = list(self._domains), self._counts
        return IndexStats(
            replicas={replica: holdings.stats for replica, holdings in self._replicas.items()},
            num_domains=len(domains),
            num_splits=counts.num_splits,
            num_unique_blocks=sum(domain.index.num_unique_blocks for domain in domains),
            num_evicted_blocks=counts.num_evicted_blocks,
            num_holes=counts.num_holes,
            num_evidence_entries=sum(len(domain.evidence) for domain in domains),
            num_evidence_bytes=sum(domain.evidence.num_bytes for domain in domains),
            num_predicted_runs=len(self._predicted),
            num_taught=counts.num_taught,
            num_untaught=counts.num_untaught,
            num_contradicted=counts.num_contradicted,
            num_pending=len(self._pending),
            num_missing_heads=counts.num_missing_heads,
        )

    @staticmethod
    def _block_depths(domain: Domain, known: Known, holders: dict[ReplicaId, Holdings]) -> dict[int, int]:
        if known.chain is None or not known.num_blocks:
            return {}
        wanted = 0
        for holdings in holders.values():
            if holdings.is_confirmed:
                wanted |= 1 << holdings.block_slot
        return dict(domain.index.depths(known.chain.blocks, known.num_blocks, wanted))

    def _hit(
        self, holdings: Holdings, known: Known, depth: int, chain: PromptChain, boundaries: int, length: int, now: float
    ) -> Hit:
        # Where its blocks tell that the replica lacks some of what was taught of this prompt, a prediction only bridges the
        # time until its events come; where they cannot tell, a prediction is all there is.
        settings = self._settings
        is_refuted = holdings.is_confirmed and holdings.has_blocks and depth < known.taught_blocks
        ttl_s = settings.unconfirmed_ttl_s if is_refuted else settings.predicted_ttl_s
        predicted = self._predicted.tokens_since(holdings.run_slot, chain.digests, boundaries, now - ttl_s) if boundaries else 0
        block_size = holdings.domain.block_size or 1
        # Blocks beyond the taught ones are where an estimate put them.
        confirmed = min(depth, known.taught_blocks) * block_size
        predicted = max(predicted // block_size, depth) * block_size
        limit = max(0, length - 1) // block_size * block_size
        tokens = min(max(confirmed, predicted), limit)
        if not tokens:
            return _NO_HIT
        return Hit(tokens=tokens, source=HitSource.CONFIRMED if tokens <= confirmed else HitSource.PREDICTED)

    def _teach(self, call_id: str, call: PendingCall, *, is_last_chance: bool = False) -> Lesson:
        holdings = self._replicas.get(call.replica)
        if holdings is None or not holdings.can_teach:
            outcome, is_last_chance = Learned.INCOMPLETE, True
        else:
            last = holdings.stamps.last_block(call_id)
            outcome = holdings.domain.learn(last, call.prompt, call.prompt_tokens)
        if outcome is Learned.INCOMPLETE and not is_last_chance:
            overflow = self._pending.put(call_id, call)
            if overflow is not None:
                self._teach(*overflow, is_last_chance=True)
            return Lesson(is_pending=True)
        self._pending.pop(call_id)
        if holdings is not None:
            holdings.stamps.forget(call_id)
        if outcome in (Learned.INCOMPLETE, Learned.HEADLESS):
            self._counts.num_untaught += 1
            self._counts.num_missing_heads += outcome is Learned.HEADLESS
            return Lesson()
        self._domains.trim(self._settings.max_evidence_bytes)
        if outcome is Learned.CONTRADICTED:
            self._counts.num_contradicted += 1
        else:
            self._counts.num_taught += 1
        return Lesson(is_taught=True, is_contradiction=outcome is Learned.CONTRADICTED)
