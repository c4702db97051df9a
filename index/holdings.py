"""One replica as the index follows it: its domain, its slot there, and what its events do to them."""

from __future__ import annotations

from turnwise.events import FULL_ATTENTION, BlocksCleared, BlocksRemoved, BlocksStored, KvEvent
from turnwise.index.domains import Domain, Domains
from turnwise.index.lessons import Stamps
from turnwise.index.predicted import PredictedRuns
from turnwise.index.values import DomainKey, ReplicaStats
from turnwise.settings import IndexSettings
from turnwise.types import ReplicaId

GPU = "GPU"

BLOCKS_SLACK = 1.25
"""Blocks kept for a replica as a multiple of what its cache holds: within a batch, removals may lag behind stores."""


class Holdings:
    """What one replica holds: confirmed blocks, in a slot of its domain's index, and predicted runs."""

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
        self.stamps = Stamps()
        self.domain: Domain = domains.join(replica, key)
        self.replica = replica
        self._domains = domains
        self._num_blocks_elsewhere = 0
        self._is_split = False
        self._max_blocks = settings.max_blocks_per_replica
        self._max_tokens = settings.max_predicted_tokens
        if num_blocks is not None:
            self._max_blocks = max(1, int(num_blocks * BLOCKS_SLACK))
            if key.block_size is not None:
                self._max_tokens = num_blocks * key.block_size
        self.block_slot = self.domain.index.open_slot(self._max_blocks)
        self.predicted = PredictedRuns(self._max_tokens)
        self.num_moves = 0
        """How often a slot, the domain or the predicted runs were replaced, or whether blocks tell anything changed."""

    @property
    def is_confirmed(self) -> bool:
        """Whether its events tell what it holds."""
        return self.can_teach and not self.is_stale

    @property
    def can_teach(self) -> bool:
        """Whether its events can tell the block chain of a prompt."""
        return self.has_events and not self.is_predicted_only

    @property
    def has_blocks(self) -> bool:
        """Whether it is known to hold any block."""
        return self.domain.index.num_blocks(self.block_slot) > 0

    @property
    def stats(self) -> ReplicaStats:
        """Sizes and states for metrics and the admin API."""
        return ReplicaStats(
            num_blocks=self.domain.index.num_blocks(self.block_slot),
            num_blocks_elsewhere=self._num_blocks_elsewhere,
            num_predicted_tokens=self.predicted.num_tokens,
            is_stale=self.is_stale,
            is_predicted_only=self.is_predicted_only,
            is_split=self._is_split,
        )

    def apply(self, event: KvEvent) -> None:
        """Take in one event of its engine."""
        if isinstance(event, BlocksStored):
            self._store(event)
        elif isinstance(event, BlocksRemoved):
            self._remove(event)
        elif isinstance(event, BlocksCleared):
            self.drop()

    def drop(self) -> None:
        """It holds nothing: its engine restarted or cleared its cache."""
        self._num_blocks_elsewhere = 0
        self.is_predicted_only = False
        self.stamps.clear()
        self._drop_blocks()
        self.predicted = PredictedRuns(self._max_tokens)

    def close(self) -> None:
        """Give its slot back and leave the domain; nothing may be asked of it afterwards."""
        self.domain.index.retire_slot(self.block_slot)
        self.domain.members.discard(self.replica)

    def _store(self, event: BlocksStored) -> None:
        if event.medium != GPU:
            self._num_blocks_elsewhere += len(event.hashes)
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
        self.domain.index.store(self.block_slot, event.hashes, event.parent)
        if event.call_id is not None:
            self.stamps.put(event.call_id, event.hashes[-1])

    def _remove(self, event: BlocksRemoved) -> None:
        if event.medium != GPU:
            self._num_blocks_elsewhere = max(0, self._num_blocks_elsewhere - len(event.hashes))
        elif event.group:
            self._predict_only()
        else:
            self.domain.index.remove(self.block_slot, event.hashes)

    def _predict_only(self) -> None:
        # With several groups or kinds a prefix is reusable only where all of them hold it: one chain does not tell.
        if not self.is_predicted_only:
            self.is_predicted_only = True
            self._drop_blocks()

    def _split(self) -> None:
        self.domain.index.retire_slot(self.block_slot)
        self.domain = self._domains.split(self.replica, self.domain)
        self.block_slot = self.domain.index.open_slot(self._max_blocks)
        self.num_moves += 1
        self.stamps.clear()
        self._is_split = True

    def _drop_blocks(self) -> None:
        self.domain.index.retire_slot(self.block_slot)
        self.block_slot = self.domain.index.open_slot(self._max_blocks)
        self.num_moves += 1
