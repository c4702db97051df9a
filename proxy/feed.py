"""Engine events into the index: one task for each replica that publishes them.

A feed keeps the engine's sequence whole. A gap, be it within a connection or between two, is filled by replay; where replay
cannot, what was known of the replica is dropped, for a lost removal would be a false hit. A sequence that goes back, or goes
on otherwise than it was heard, is a restart: the blocks are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from turnwise.engines.base import EngineAdapter, EventSource, FeedLost, ReplayUnavailable
from turnwise.events import BlocksCleared, EventBatch, EventSourceInfo
from turnwise.index import KvIndex
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.member import Member

logger = logging.getLogger(__name__)

BLOCKS_PER_TURN = 128
"""Blocks applied before the loop may serve others: about 0.1 ms of work."""

RECONNECT_S = 1.0
"""Pause before a broken feed is opened again."""


class Feed:
    """Follows one replica's events into an index that holds nothing of it yet.

    It may be cancelled and run again: it then goes on where it was, if the engine's process is still the same.
    """

    def __init__(
        self,
        member: Member,
        info: EventSourceInfo,
        *,
        adapter: EngineAdapter,
        index: KvIndex,
        metrics: Metrics,
        clock: Callable[[], float],
        reconnect_s: float = RECONNECT_S,
    ) -> None:
        self._member = member
        self._info = info
        self._adapter = adapter
        self._index = index
        self._metrics = metrics
        self._clock = clock
        self._reconnect_s = reconnect_s
        self._last: EventBatch | None = None
        """Last batch in the index, by which a later connection knows the process; None where the index holds nothing."""
        self._next: int | None = 0
        """Sequence that comes next if nothing was lost; None where any will do, for nothing is known of what came before."""
        self._last_live = -1
        """Last sequence heard live; replayed ones may be heard again after it, so only its going back is a restart."""
        self._is_whole = False
        """Whether nothing that the engine stored is unknown."""

    async def run(self) -> None:
        """Follow until cancelled; while the source cannot be heard, and once nobody listens, the view is stale."""
        self._set_state("connecting" if self._last is None and self._member.feed != "stale" else "stale")
        try:
            while True:
                try:
                    await self._follow()
                except Exception as error:  # noqa: BLE001 - a feed outlives whatever its engine sends
                    self._note_loss(error)
                await asyncio.sleep(self._reconnect_s)
        finally:
            self._set_state("stale")

    async def _follow(self) -> None:
        async with self._adapter.events(self._info) as source:
            self._last_live = -1
            await self._resync(source)
            logger.info("feed of %s is %s", self._member.id, self._member.feed)
            while True:
                for batch in await source.receive():
                    await self._take(source, batch)

    def _note_loss(self, error: Exception) -> None:
        if self._member.feed == "stale":
            logger.debug("feed of %s is still stale: %s", self._member.id, error)
            return
        is_bug = not isinstance(error, (FeedLost, ValueError))
        logger.warning("feed of %s is stale until it is heard again: %s", self._member.id, error, exc_info=is_bug)
        self._set_state("stale")

    async def _resync(self, source: EventSource) -> None:
        """Take what the engine keeps and was not heard; what it stored before that stays unknown."""
        try:
            kept = await source.replay(self._last.sequence if self._last is not None else 0)
            if self._last is not None and kept[:1] != [self._last]:
                self._note_break(self._last, kept)
                self._forget()
                kept = await source.replay(0)
        except ReplayUnavailable as error:
            logger.warning("%s: no replay of KV events, so its cache is known from here on: %s", self._member.id, error)
            self._forget()
            self._next = None
            self._set_heard(is_whole=False)
            return
        if self._last is None:
            self._is_whole = not kept or kept[0].sequence == 0
        elif len(kept) > 1:
            self._metrics.feed_gap(self._member.id)
        for batch in kept:
            if batch != self._last:
                await self._apply(batch)
        self._set_heard(is_whole=self._is_whole)

    def _note_break(self, last: EventBatch, kept: list[EventBatch]) -> None:
        if kept and kept[0].sequence > last.sequence:
            logger.warning("%s: events %d to %d are lost", self._member.id, last.sequence + 1, kept[0].sequence - 1)
            self._metrics.feed_gap(self._member.id)
        else:
            logger.warning("%s restarted: its events do not go on from %d", self._member.id, last.sequence)
            self._member.life += 1
            self._metrics.feed_restart(self._member.id)

    async def _take(self, source: EventSource, batch: EventBatch) -> None:
        if batch.sequence <= self._last_live:
            logger.warning("%s restarted: its event sequence went back to %d", self._member.id, batch.sequence)
            self._metrics.feed_restart(self._member.id)
            self._member.life += 1
            self._forget()
            self._set_heard(is_whole=True)
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
            self._forget()
            self._next = until
            self._set_heard(is_whole=False)

    async def _apply(self, batch: EventBatch) -> None:
        self._index.apply(self._member.id, batch, self._clock())
        self._metrics.feed_batch(self._member.id)
        self._last, self._next = batch, batch.sequence + 1
        num_blocks = sum(0 if isinstance(event, BlocksCleared) else len(event.hashes) for event in batch.events)
        if num_blocks > BLOCKS_PER_TURN:
            await asyncio.sleep(0)

    def _forget(self) -> None:
        if self._last is not None:
            self._index.drop_blocks(self._member.id)
        self._last, self._next = None, 0

    def _set_heard(self, *, is_whole: bool) -> None:
        self._is_whole = is_whole
        self._set_state("live" if is_whole else "partial")

    def _set_state(self, state: str) -> None:
        self._member.feed = state
        self._index.set_stale(self._member.id, state in {"connecting", "stale"})
