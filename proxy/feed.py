"""Engine events into the index: one task for each replica that publishes them.

A feed keeps the engine's sequence whole. A gap is filled by replay; where replay cannot, what was known of the
replica is dropped, for a lost removal would be a false hit. The live sequence going back is a restart: its blocks are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from turnwise.engines.base import EngineAdapter, EventSource, ReplayUnavailable
from turnwise.events import BlocksCleared, EventBatch, EventSourceInfo
from turnwise.index import KvIndex
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.fleet import Member

logger = logging.getLogger(__name__)

BLOCKS_PER_TURN = 128
"""Blocks applied before the loop may serve others: about 0.1 ms of work."""

RECONNECT_S = 1.0
"""Pause before a broken feed is opened again."""


class Feed:
    """Follows one replica's events until cancelled."""

    def __init__(
        self,
        member: Member,
        info: EventSourceInfo,
        *,
        adapter: EngineAdapter,
        index: KvIndex,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._member = member
        self._info = info
        self._adapter = adapter
        self._index = index
        self._metrics = metrics
        self._clock = clock
        self._next: int | None = 0
        """Sequence that comes next if nothing was lost; None where any will do, for nothing is known of what came before."""
        self._last_live = -1
        """Last sequence heard live; replayed ones may be heard again after it, so only its going back is a restart."""

    async def run(self) -> None:
        """Follow for ever; a source that breaks makes the view stale and is opened again."""
        while True:
            try:
                await self._follow()
            except Exception:
                logger.exception("feed of %s broke; its view is stale until it is open again", self._member.id)
                self._set_state("stale")
                await asyncio.sleep(RECONNECT_S)

    async def _follow(self) -> None:
        async with self._adapter.events(self._info) as source:
            self._set_state("connecting")
            self._index.drop_blocks(self._member.id)
            self._next, self._last_live = 0, -1
            await self._resync(source)
            while True:
                for batch in await source.receive():
                    await self._take(source, batch)

    async def _take(self, source: EventSource, batch: EventBatch) -> None:
        if batch.sequence <= self._last_live:
            logger.warning("%s restarted: its event sequence went back to %d", self._member.id, batch.sequence)
            self._metrics.feed_restart(self._member.id)
            self._index.drop_blocks(self._member.id)
            self._next = 0
        self._last_live = batch.sequence
        if self._next is not None and batch.sequence > self._next:
            await self._fill_gap(source, self._next, batch.sequence)
        if self._next is None or batch.sequence >= self._next:
            await self._apply(batch)

    async def _fill_gap(self, source: EventSource, start: int, until: int) -> None:
        self._metrics.feed_gap(self._member.id)
        try:
            for batch in await source.replay(start):
                if batch.sequence == self._next and batch.sequence < until:
                    await self._apply(batch)
        except ReplayUnavailable as error:
            logger.warning("%s: events %d to %d are lost: %s", self._member.id, start, until - 1, error)
        if self._next != until:
            self._index.drop_blocks(self._member.id)
            self._next = until
            self._set_state("partial")

    async def _resync(self, source: EventSource) -> None:
        """Take all that the engine still keeps; what it stored earlier stays unknown."""
        try:
            batches = await source.replay(0)
        except ReplayUnavailable as error:
            logger.warning("%s: no replay of KV events, so its cache is known from here on: %s", self._member.id, error)
            self._next = None
            self._set_state("partial")
            return
        for batch in batches:
            await self._apply(batch)
        is_whole = not batches or batches[0].sequence == 0
        self._set_state("live" if is_whole else "partial")

    async def _apply(self, batch: EventBatch) -> None:
        self._index.apply(self._member.id, batch, self._clock())
        self._metrics.feed_batch(self._member.id)
        self._next = batch.sequence + 1
        num_blocks = sum(0 if isinstance(event, BlocksCleared) else len(event.hashes) for event in batch.events)
        if num_blocks > BLOCKS_PER_TURN:
            await asyncio.sleep(0)

    def _set_state(self, state: str) -> None:
        self._member.feed = state
        self._index.set_stale(self._member.id, state in {"connecting", "stale"})
