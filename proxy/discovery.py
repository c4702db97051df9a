"""Who is there: reaches each replica, learns what it is, watches whether it answers, and keeps its feed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import httpx
import msgspec

from turnwise.engines.base import EngineAdapter
from turnwise.events import EventSourceInfo, LoadReport, ReplicaFacts
from turnwise.index import DomainKey, KvIndex
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.feed import Feed
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.following import Following
from turnwise.proxy.member import Member
from turnwise.proxy.sequence import Mark
from turnwise.proxy.warm import Remembered
from turnwise.settings import Replica, Settings
from turnwise.types import ReplicaId

logger = logging.getLogger(__name__)

FIXED_AT_START = ("block_size", "num_blocks", "hash_algorithm", "started_at")
"""Fields of a load report that never change while a process lives."""

UNBOUNDED = httpx.Limits(max_connections=None, max_keepalive_connections=None)
"""Replicas that hang must not keep the checks of others waiting for a connection."""


class Discovery:
    """One watching task for each replica, and under it the task of its feed."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        index: KvIndex,
        metrics: Metrics,
        adapter: EngineAdapter,
        *,
        clock: Callable[[], float],
        remembered: Mapping[ReplicaId, Remembered] | None = None,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._index = index
        self._metrics = metrics
        self._adapter = adapter
        self._clock = clock
        self._restored = dict(remembered or {})
        """Replicas of which the index was restored and that were not found yet, with where their feeds stood."""
        self._events = {name: _Events() for name in fleet.members}
        self._unseen = set(fleet.members)
        self.has_looked = asyncio.Event()
        """Set once every replica was tried, whatever came of it."""

    async def run(self) -> None:
        """Watch every replica until cancelled."""
        timeout = self._settings.fleet.check_timeout_s
        # Calls go to replicas directly, so the checks do too, whatever proxy the environment names.
        async with httpx.AsyncClient(timeout=timeout, limits=UNBOUNDED, trust_env=False) as http, asyncio.TaskGroup() as group:
            for member in self._fleet.members.values():
                group.create_task(self._watch(member, http), name=f"watch {member.id}")

    def remembered(self) -> dict[ReplicaId, Remembered]:
        """Where the feed of each replica stands that the index is whole of, for another process to go on from."""
        marks = {name: events.mark for name, events in self._events.items()}
        losses = {name: member.following.loss for name, member in self._fleet.members.items()}
        return {name: Remembered(mark, losses[name]) for name, mark in marks.items() if mark is not None}

    async def _watch(self, member: Member, http: httpx.AsyncClient) -> None:
        failures = 0
        events = self._events[member.id]
        try:
            while True:
                try:
                    if not (member.is_healthy and await self._is_as_known(member, http)):
                        await self._admit(member, await self._adapter.discover(http, member.settings.url), events)
                    failures = 0
                except Exception as error:  # noqa: BLE001 - the watch outlives any answer of a replica
                    failures += 1
                    self._note_failure(member, failures, error)
                    if not member.is_healthy:
                        await events.pause()
                self._unseen.discard(member.id)
                if not self._unseen:
                    self.has_looked.set()
                await asyncio.sleep(self._settings.fleet.check_interval_s)
        finally:
            await events.pause()

    async def _is_as_known(self, member: Member, http: httpx.AsyncClient) -> bool:
        """Whether a replica still is what was admitted: its models, its cache and its process.

        Raises `httpx.HTTPError` where it does not answer.
        """
        models = await self._adapter.models(http, member.settings.url)
        member.load = await self._adapter.load(http, member.settings.url)
        return member.facts is not None and models == member.facts.models and _is_alike(member.facts.load, member.load)

    def _note_failure(self, member: Member, failures: int, error: Exception) -> None:
        if failures == self._settings.fleet.unhealthy_after or (failures == 1 and member.facts is None):
            is_bug = not isinstance(error, (httpx.HTTPError, ValueError))
            said = str(error).partition("\n")[0] or type(error).__name__
            logger.warning("%s is not answering: %s", member.id, said, exc_info=is_bug)
        if failures >= self._settings.fleet.unhealthy_after:
            member.is_healthy = False

    async def _admit(self, member: Member, facts: ReplicaFacts, events: _Events) -> None:
        """Take in a replica that is new, was away, or has changed; what is known of its cache is kept where it must hold."""
        is_same = member.facts is not None and _is_same_process(member.facts.load, facts.load, was_healthy=member.is_healthy)
        source = event_source(member.settings, facts) if self._settings.policy.name == "kv_aware" else None
        key = DomainKey(
            model=facts.models[0] if facts.models else "",
            block_size=facts.load.block_size,
            algorithm=facts.load.hash_algorithm,
        )
        origin = (key, facts.load.num_blocks, source)
        if not is_same or origin != events.origin:
            if member.facts is not None:
                logger.warning("%s may have restarted or has changed: what it held is forgotten", member.id)
            await events.pause()
            self._index.add_replica(member.id, key, num_blocks=facts.load.num_blocks, has_events=source is not None)
            remembered = self._restored.pop(member.id, None)
            if not self._index.is_restored(member.id):
                remembered = None
            if remembered is None:
                self._index.drop_blocks(member.id)
            member.life += 1
            member.turnover.clear()
            member.feed = "none"
            member.following = Following(
                has_several_ranks=_publishes_by_rank(member.settings, facts),
                answered_before=self._metrics.calls.answered(member.id),
                restarted_at=None if member.facts is None else self._clock(),
                is_restored=remembered is not None,
                loss=None if remembered is None else remembered.loss,
            )
            mark = None if remembered is None else remembered.mark
            events.begin(origin, None if source is None else self._feed(member, source, mark))
        member.facts, member.load, member.is_healthy = facts, facts.load, True
        events.resume(f"feed {member.id}")
        logger.info("%s serves %s; KV events: %s", member.id, ", ".join(facts.models), source.endpoint if source else "none")

    def _feed(self, member: Member, source: EventSourceInfo, last: Mark | None) -> Feed:
        return Feed(
            member,
            source,
            adapter=self._adapter,
            index=self._index,
            metrics=self._metrics,
            clock=self._clock,
            last=last,
        )


class _Events:
    """The feed of one replica, and the task that runs it while the replica is healthy."""

    def __init__(self) -> None:
        self.origin: tuple[DomainKey, int | None, EventSourceInfo | None] | None = None
        """Of what the feed tells: a cache, and where its events are published. Another one needs another feed."""
        self._feed: Feed | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def mark(self) -> Mark | None:
        """The batch after which the index stands; None where it stands after none."""
        return None if self._feed is None else self._feed.mark

    def begin(self, origin: tuple[DomainKey, int | None, EventSourceInfo | None], feed: Feed | None) -> None:
        """Take another feed, None where there are no events; the one before must be paused."""
        self.origin, self._feed = origin, feed

    def resume(self, name: str) -> None:
        """Run the feed, if it does not run."""
        if self._feed is not None and self._task is None:
            self._task = asyncio.create_task(self._feed.run(), name=name)

    async def pause(self) -> None:
        """Stop the feed, which leaves its view stale."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def event_source(replica: Replica, facts: ReplicaFacts) -> EventSourceInfo | None:
    """Where to listen for a replica's KV events: as set, else as it says; None where it has none or has several ranks.

    A call's rank is the engine's own choice, so routing cannot use blocks of several ranks: such a replica is predicted.
    """
    if replica.events == "off":
        return None
    if replica.events_endpoint:
        return EventSourceInfo(rank=0, endpoint=replica.events_endpoint, replay_endpoint=replica.replay_endpoint or None)
    if len(facts.event_sources) != 1:
        return None
    source = facts.event_sources[0]
    if replica.replay_endpoint:
        source = msgspec.structs.replace(source, replay_endpoint=replica.replay_endpoint)
    return source


def _publishes_by_rank(replica: Replica, facts: ReplicaFacts) -> bool:
    return replica.events != "off" and not replica.events_endpoint and len(facts.event_sources) > 1


def _is_alike(known: LoadReport, told: LoadReport) -> bool:
    """Whether nothing that `told` says contradicts what was known; what it leaves out is no news."""
    pairs = [(getattr(known, field), getattr(told, field)) for field in FIXED_AT_START]
    return all(now is None or now == before for before, now in pairs)


def _is_same_process(known: LoadReport, told: LoadReport, *, was_healthy: bool) -> bool:
    """Whether it is the process that was admitted; one that tells no start and was away may have restarted."""
    if known.started_at is None or told.started_at is None:
        return was_healthy
    return known.started_at == told.started_at
