"""One replica as the index follows it: its domain, its slot there, and what its events do to them."""

from __future__ import annotations

from turnwise.events import DISK, DRAM, FULL_ATTENTION, GPU, BlocksCleared, BlocksRemoved, BlocksStored, KvEvent
from turnwise.index.block_runs import UNKNOWN_PARENT
from turnwise.index.capacity import Capacity
from turnwise.index.closed_loop import ClosedLoop
from turnwise.index.domains import Domain, Domains
from turnwise.index.lessons import Stamps
from turnwise.index.predicted import PredictedRuns
from turnwise.index.values import DomainKey, ReplicaStats, Report
from turnwise.index.waiting import Waiting
from turnwise.settings import IndexSettings
from turnwise.types import PromptChain, ReplicaId

SLOWER = (DRAM, DISK)
"""Media besides the GPU that count, the faster first: where a block is in both, engines read it from there."""

MAX_NAMED_MEDIA = 8
"""Other media that are named in stats; an engine has a few, nonsense has any number."""

BLOCKS_SLACK = 1.25
"""Blocks kept for a replica as a multiple of what its cache holds: within a batch, removals may lag behind stores."""


HIDDEN_TIER_SHARE = 1.25
"""Multiple of the stated size from which on what is found beyond it is taken to be in a slower tier: sizes are learned within a
tenth."""

STALE_WEIGHT = 0.9
"""What a predicted token is worth while events that should come do not. Where none ever come, one in twenty is not there;
here the size in effect was not learned besides."""


class Holdings:
    """What one replica holds: confirmed blocks, in a slot of its domain's index for each medium, and predicted runs."""

    def __init__(
        self,
        replica: ReplicaId,
        key: DomainKey,
        *,
        num_blocks: int | None,
        has_events: bool,
        domains: Domains,
        settings: IndexSettings,
    ) -> None:
        self.key = key
        self.num_blocks = num_blocks
        self.has_events = has_events
        self.is_stale = False
        self.is_predicted_only = False
        self.is_distrusted = False
        """Whether what its events told was often not there lately."""
        self.stamps = Stamps()
        self.loop = ClosedLoop()
        self.waiting = Waiting()
        self.domain: Domain = domains.join(replica, key)
        self.replica = replica
        self._domains = domains
        self.slower: dict[str, int] = {}
        """Slots of the media besides the GPU in which it was heard to hold blocks."""
        self._num_elsewhere = 0
        self._elsewhere: dict[str, None] = {}
        self.is_split = False
        """It hashed a known prompt otherwise than its domain."""
        self.is_trusted = True
        """False where its blocks are from before a restart of the proxy, and nobody has checked that its engine still lives."""
        self._max_blocks = settings.max_blocks_per_replica
        self._max_slower_blocks = settings.max_blocks_per_replica
        if num_blocks is not None:
            self._max_blocks = max(1, int(num_blocks * BLOCKS_SLACK))
        self.block_slot = self.domain.index.open_slot(self._max_blocks)
        stated = None if num_blocks is None or key.block_size is None else num_blocks * key.block_size
        self.capacity = Capacity(stated, settings.max_predicted_tokens)
        """What its cache holds in effect; it outlives what is predicted."""
        self.predicted = PredictedRuns(self.capacity)
        self.num_moves = 0
        """How often a slot, the domain or the predicted runs were replaced, or whether blocks tell anything changed."""

    @property
    def is_confirmed(self) -> bool:
        """Whether its events tell what it holds, and have told the truth lately."""
        return self.can_teach and self.is_trusted and not (self.is_stale or self.is_distrusted)

    @property
    def predicted_weight(self) -> float:
        """What a token that is predicted of it is worth, in [0, 1]."""
        weight = self.loop.predicted.weight
        return weight * STALE_WEIGHT if self.is_stale and self.has_events else weight

    @property
    def has_hidden_tier(self) -> bool:
        """Whether its reports show that it finds much more than the size it states: a slower tier, of which no event tells."""
        stated = self.capacity.stated
        return not self.has_events and stated is not None and self.capacity.tokens > stated * HIDDEN_TIER_SHARE

    @property
    def states_size(self) -> bool:
        """Whether its engine says how much its cache holds."""
        return self.capacity.stated is not None

    @property
    def can_teach(self) -> bool:
        """Whether its events can tell the block chain of a prompt."""
        return self.has_events and not self.is_predicted_only

    @property
    def has_blocks(self) -> bool:
        """Whether it is known to hold any block."""
        return self.domain.index.num_blocks(self.block_slot) > 0

    @property
    def slots(self) -> dict[str, int]:
        """Its slots by medium."""
        return {GPU: self.block_slot, **self.slower}

    @property
    def room(self) -> int:
        """Tokens of its cache that are not predicted to be in use: they are free, or hold what was used longest ago."""
        return self.capacity.tokens - self.predicted.num_tokens

    @property
    def stats(self) -> ReplicaStats:
        """Sizes and states for metrics and the admin API."""
        index, slower, capacity = self.domain.index, self.slower, self.capacity
        return ReplicaStats(
            num_blocks=index.num_blocks(self.block_slot),
            num_dram_blocks=index.num_blocks(slower[DRAM]) if DRAM in slower else 0,
            num_disk_blocks=index.num_blocks(slower[DISK]) if DISK in slower else 0,
            num_copies=index.num_copies(self.block_slot),
            num_blocks_elsewhere=self._num_elsewhere,
            elsewhere=tuple(self._elsewhere),
            num_predicted_tokens=self.predicted.num_tokens,
            is_stale=self.is_stale,
            is_predicted_only=self.is_predicted_only,
            is_split=self.is_split,
            loop=self.loop.stats,
            complaint=self.loop.complaint,
            effective_tokens=capacity.tokens,
            offload_tokens=capacity.offload_tokens,
            evicted_tokens_per_s=capacity.evicted_tokens_per_s,
            num_silent_restarts=capacity.num_restarts,
            emptied_at=capacity.emptied_at,
            drops_last_block=self.loop.last_block.is_dropped,
            num_unexplained_losses=capacity.num_unexplained,
        )

    def settle(self, chain: PromptChain, report: Report, now: float) -> int:
        """A call was answered: correct what was predicted, and learn from it what the cache holds, unless that is known.

        Returns how many tokens it should have found, 0 where that is not known, or where evictions or a restart explain that
        it did not.
        """
        prompt_tokens, cached_tokens = report.prompt_tokens, report.cached_tokens
        if cached_tokens is not None and self.is_confirmed and (self.states_size or self.domain.resolve(chain).is_taught):
            cached_tokens = None  # it has said how much it holds, or its events tell more
        answer_tokens = 0 if self.has_events else report.completion_tokens or 0  # blocks tell of what was generated
        return self.predicted.settle(chain, prompt_tokens, cached_tokens, now, answer_tokens)

    def apply(self, event: KvEvent, *, is_report: bool = False) -> None:
        """Take in one event of its engine; `is_report` says that it may repeat what is held, as its call asked for."""
        if isinstance(event, BlocksStored):
            self._store(event, is_report=is_report)
        elif isinstance(event, BlocksRemoved):
            self._remove(event)
        elif isinstance(event, BlocksCleared):
            self.drop()

    def drop(self) -> None:
        """It holds nothing: its engine restarted or cleared its cache."""
        self.is_predicted_only = False
        self.is_trusted = True
        self.stamps.clear()
        self._drop_blocks()
        self.predicted = PredictedRuns(self.capacity)

    def take_over(self, domain: Domain, slots: dict[str, int], *, is_split: bool, is_predicted_only: bool) -> None:
        """Hold what was restored of it: `slots` of `domain` by medium. Nothing of it is believed before it is trusted."""
        self._retire_slots()
        if domain is not self.domain:
            self.domain.members.discard(self.replica)
        self.domain, self.slower = domain, dict(slots)
        self.block_slot = self.slower.pop(GPU)
        domain.index.bound(self.block_slot, self._max_blocks)
        self.is_split, self.is_predicted_only, self.is_trusted = is_split, is_predicted_only, False
        self.num_moves += 1

    def close(self) -> None:
        """Give its slots back and leave the domain; nothing may be asked of it afterwards."""
        self._retire_slots()
        self.domain.members.discard(self.replica)

    def _store(self, event: BlocksStored, *, is_report: bool) -> None:
        if event.medium != GPU:
            self._store_slower(event)
            return
        if self.domain.block_size is None:
            self.domain.block_size = event.block_size
        if event.spec_kind != FULL_ATTENTION or event.group or event.block_size != self.domain.block_size:
            self._predict_only()
        if self.is_predicted_only or not event.hashes:
            return
        if event.parent is None and event.head_key is not None and not self.domain.agrees(event.head_key, event.hashes[0]):
            self._split()
            self.domain.agrees(event.head_key, event.hashes[0])
        self.domain.index.store(self.block_slot, event.hashes, event.parent, counts_copies=not is_report)
        if event.call_id is not None:
            self.stamps.put(event.call_id, event.hashes[-1])

    def _store_slower(self, event: BlocksStored) -> None:
        medium, index = event.medium, self.domain.index
        is_of_chain = not event.group and (not event.is_chained or event.block_size == self.domain.block_size)
        if medium not in SLOWER or not is_of_chain or self.is_predicted_only:
            self._num_elsewhere += len(event.hashes)
            if len(self._elsewhere) < MAX_NAMED_MEDIA:
                self._elsewhere[medium] = None
            return
        slot = self.slower.get(medium)
        if slot is None:
            slot = self.slower[medium] = index.open_slot(self._max_slower_blocks)
            self.num_moves += 1
        if event.is_chained:
            index.store(slot, event.hashes, event.parent, counts_copies=True)
            return
        for block in event.hashes:
            index.store(slot, (block,), UNKNOWN_PARENT, counts_copies=True)

    def _remove(self, event: BlocksRemoved) -> None:
        if event.medium == GPU:
            if event.group:
                self._predict_only()
            else:
                self.domain.index.remove(self.block_slot, event.hashes)
        elif event.medium in self.slower and not event.group:
            self.domain.index.remove(self.slower[event.medium], event.hashes)
        else:
            self._num_elsewhere = max(0, self._num_elsewhere - len(event.hashes))

    def _predict_only(self) -> None:
        # With several groups or kinds a prefix is reusable only where all of them hold it: one chain does not tell.
        if not self.is_predicted_only:
            self.is_predicted_only = True
            self._drop_blocks()

    def _split(self) -> None:
        self._retire_slots()
        self.domain = self._domains.split(self.replica, self.domain)
        self.block_slot = self.domain.index.open_slot(self._max_blocks)
        self.num_moves += 1
        self.stamps.clear()
        self.is_split = True

    def _drop_blocks(self) -> None:
        self._retire_slots()
        self.block_slot = self.domain.index.open_slot(self._max_blocks)
        self.num_moves += 1

    def _retire_slots(self) -> None:
        index = self.domain.index
        for slot in (self.block_slot, *self.slower.values()):
            index.retire_slot(slot)
        self.slower.clear()
        self._num_elsewhere = 0
        self._elsewhere.clear()
