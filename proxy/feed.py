"""Engine events into the index: one task for each replica that publishes them.

A feed keeps the engine's sequence whole. A gap, be it within a connection or between two, is filled by replay; where replay
cannot, what was known of the replica is dropped, for a lost removal would be a false hit. What arrives twice or late changes
nothing. A number that says something else than it said before is a restart: the blocks are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from turnwise.engines.base import EngineAdapter, EventSource, FeedLost, ReplayUnavailable
from turnwise.events import BlocksStored, EventBatch, EventSourceInfo, Nonsense
from turnwise.index import KvIndex
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.following import Following, Loss
from turnwise.proxy.member import Member
from turnwise.proxy.reading import CALL_ID_PREFIX
from turnwise.proxy.sequence import Mark, Sequencer, Standing
from turnwise.proxy.slices import MAX_BLOCKS, num_blocks, pieces

logger = logging.getLogger(__name__)

RECONNECT_S = 1.0
"""Pause before a broken feed is opened again."""

QUIET_S = 1.0
"""Silence after which the engine is asked once whether the last batch heard was its last: nothing else tells of a lost one."""


class Feed:
    """Follows one replica's events into an index that holds nothing of it yet, or what it held after the batch `last`.

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
        quiet_s: float = QUIET_S,
        last: Mark | None = None,
    ) -> None:
        self._member = member
        self._info = info
        self._adapter = adapter
        self._index = index
        self._metrics = metrics
        self._clock = clock
        self._reconnect_s = reconnect_s
        self._quiet_s = quiet_s
        self._sequence = Sequencer(last)
        self._num_applied = 0
        """Blocks applied since the loop last served others."""
        self._is_torn = False
        """Whether a part of a batch is in the index and the rest is not."""
        self._is_unchecked = False
        """Whether batches were heard since the engine was last asked for more."""
        self._has_replay = True

    @property
    def mark(self) -> Mark | None:
        """The batch after which the index stands now; None where it stands after none."""
        return None if self._is_torn else self._sequence.last

    async def run(self) -> None:
        """Follow until cancelled; while the source cannot be heard, and once nobody listens, the view is stale."""
        is_new = self._sequence.last is None or self._following.is_restored
        self._set_state("connecting" if is_new and self._member.feed != "stale" else "stale")
        try:
            while True:
                try:
                    await self._follow()
                except Exception as error:  # noqa: BLE001 - a feed outlives whatever its engine sends
                    self._note_loss(error)
                await asyncio.sleep(self._reconnect_s)
        finally:
            self._set_state("stale")

    @property
    def _following(self) -> Following:
        return self._member.following

    async def _follow(self) -> None:
        async with self._adapter.events(self._info) as source:
            if self._is_torn:
                self._forget()
            try:
                await self._resync(source)
                self._has_replay = True
            except ReplayUnavailable as error:
                self._has_replay = False
                logger.warning("%s: no replay of KV events, so its cache is known from here on: %s", self._member.id, error)
                self._forget(following=None)
                self._set_heard(Loss.NO_REPLAY)
            logger.info("feed of %s is %s", self._member.id, self._member.feed)
            while True:
                for batch in await self._receive(source):
                    self._is_unchecked = True
                    await self._take(source, batch)

    async def _receive(self, source: EventSource) -> list[EventBatch]:
        if not self._is_unchecked or not self._has_replay:
            return await source.receive()
        try:
            # Should a batch be lost to the end of the wait, the question that follows brings it.
            async with asyncio.timeout(self._quiet_s):
                return await source.receive()
        except TimeoutError:
            self._is_unchecked = False
            try:
                await self._resync(source, is_check=True)
            except ReplayUnavailable as error:
                # Nothing speaks against what was heard; but an engine that does not answer is not waited for again.
                logger.debug("%s does not say whether there was more than was heard: %s", self._member.id, error)
                self._has_replay = False
            return []

    def _note_loss(self, error: Exception) -> None:
        if self._member.feed == "stale":
            logger.debug("feed of %s is still stale: %s", self._member.id, error)
            return
        is_bug = not isinstance(error, (FeedLost, ValueError))
        logger.warning("feed of %s is stale until it is heard again: %s", self._member.id, error, exc_info=is_bug)
        self._set_state("stale")

    async def _resync(self, source: EventSource, *, is_check: bool = False) -> None:
        """Take what the engine keeps and was not heard; what it stored before that stays unknown.

        With `is_check` all that was sent since may have been heard, and an engine that keeps nothing contradicts nothing.
        Raises `ReplayUnavailable`.
        """
        sequence = self._sequence
        loss = self._following.loss
        last = sequence.last
        kept = await source.replay(0 if last is None else last.sequence)
        if is_check and not kept:
            return
        if last is not None and (loss is Loss.NO_REPLAY or not sequence.goes_on(kept)):
            # Where it had no replay and has it now, it can tell what was not known; else its blocks are gone.
            loss = None if sequence.goes_on(kept) else self._note_break(last, kept)
            self._forget()
            kept = await source.replay(0)
        if sequence.last is not None:
            kept = kept[1:]
            if kept:
                self._metrics.feed_gap(self._member.id)
        elif not kept or kept[0].sequence == 0:
            loss = None
        else:
            loss = loss or Loss.STARTED_LATE
            sequence.forget(following=kept[0].sequence)
        self._following.loss = loss
        for batch in kept:
            if sequence.standing(batch) is Standing.NEXT:
                await self._apply(batch)
        self._set_heard(self._following.loss)

    def _note_break(self, last: Mark, kept: list[EventBatch]) -> Loss | None:
        """Say why the engine does not go on from `last`."""
        if kept and kept[0].sequence > last.sequence:
            logger.warning("%s: events %d to %d are lost", self._member.id, last.sequence + 1, kept[0].sequence - 1)
            self._metrics.feed_gap(self._member.id)
            return Loss.GAP
        self._note_restart(f"its events do not go on from {last.sequence}")
        return None

    def _note_restart(self, how: str) -> None:
        logger.warning("%s restarted: %s", self._member.id, how)
        self._member.life += 1
        self._following.restarted_at = self._clock()
        self._metrics.feed_restart(self._member.id)

    async def _take(self, source: EventSource, batch: EventBatch) -> None:
        standing = self._sequence.standing(batch)
        if standing is Standing.REPEATED or standing is Standing.LATE:
            self._metrics.feed_ignored(self._member.id, standing.value)
            return
        if standing is Standing.RESTARTED:
            self._note_restart(f"its event {batch.sequence} is another than it was")
            self._forget()
            self._set_heard(None)
        if self._sequence.next is not None and batch.sequence > self._sequence.next:
            await self._fill_gap(source, self._sequence.next, batch.sequence)
        await self._apply(batch)

    async def _fill_gap(self, source: EventSource, start: int, until: int) -> None:
        sequence = self._sequence
        self._metrics.feed_gap(self._member.id)
        try:
            for batch in await source.replay(start):
                if batch.sequence == sequence.next and batch.sequence < until:
                    await self._apply(batch)
        except ReplayUnavailable as error:
            logger.warning("%s: events %d to %d are lost: %s", self._member.id, start, until - 1, error)
        if sequence.next != until:
            self._drop_blocks()
            sequence.give_up(until)
            self._set_heard(Loss.GAP)

    async def _apply(self, batch: EventBatch) -> None:
        size = num_blocks(batch)
        if size <= MAX_BLOCKS:
            await self._apply_piece(batch, size)
        else:
            self._is_torn = True
            for piece in pieces(batch):
                await self._apply_piece(piece, num_blocks(piece))
            self._is_torn = False
        self._sequence.take(batch)
        self._metrics.feed_batch(self._member.id)
        if batch.dropped:
            self._note_dropped(batch)

    def _note_dropped(self, batch: EventBatch) -> None:
        """Count the events that were left out of a batch, and name the replica the first time that some were nonsense."""
        following = self._following
        for dropped in batch.dropped:
            self._metrics.feed_dropped(self._member.id, dropped.why.value, dropped.count)
            if dropped.why is not Nonsense.UNKNOWN_TYPE:
                if not following.num_nonsense:
                    logger.warning("%s publishes nonsense, which is left out: %s", self._member.id, dropped.first)
                following.num_nonsense += dropped.count
        if batch.hides_removal:
            self._set_heard(Loss.GAP)

    async def _apply_piece(self, piece: EventBatch, size: int) -> None:
        if self._num_applied + size > MAX_BLOCKS:
            self._num_applied = 0
            await asyncio.sleep(0)
        self._num_applied += size
        self._index.apply(self._member.id, piece, self._clock())
        for event in piece.events:
            if isinstance(event, BlocksStored):
                is_stamped = event.call_id is not None and event.call_id.startswith(CALL_ID_PREFIX)
                self._following.note_stored(is_stamped=is_stamped)

    def _forget(self, following: int | None = 0) -> None:
        self._drop_blocks()
        self._sequence.forget(following)

    def _drop_blocks(self) -> None:
        if self._sequence.last is not None or self._is_torn:
            self._index.drop_blocks(self._member.id)
        self._is_torn = False

    def _set_heard(self, loss: Loss | None) -> None:
        """Say that what is known holds, but for what was lost."""
        self._following.loss = loss
        if self._following.is_restored:
            self._following.is_restored = False
            self._index.trust(self._member.id)
        self._set_state("live" if loss is None else "partial")

    def _set_state(self, state: str) -> None:
        self._member.feed = state
        self._index.set_stale(self._member.id, state in {"connecting", "stale"})
