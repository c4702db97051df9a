"""Who is there: reaches each replica, learns what it is, watches whether it answers, and starts its feed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import httpx
import msgspec

from turnwise.engines.base import EngineAdapter
from turnwise.events import EventSourceInfo, ReplicaFacts
from turnwise.index import DomainKey, KvIndex
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.feed import Feed
from turnwise.proxy.fleet import Fleet, Member
from turnwise.settings import Settings

logger = logging.getLogger(__name__)


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
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._index = index
        self._metrics = metrics
        self._adapter = adapter
        self._clock = clock

    async def run(self) -> None:
        """Watch every replica until cancelled."""
        timeout = self._settings.fleet.check_timeout_s
        async with httpx.AsyncClient(timeout=timeout) as http, asyncio.TaskGroup() as group:
            for member in self._fleet.members.values():
                group.create_task(self._watch(member, http), name=f"watch {member.id}")

    async def _watch(self, member: Member, http: httpx.AsyncClient) -> None:
        failures = 0
        feed: asyncio.Task[None] | None = None
        try:
            while True:
                try:
                    if not (member.is_healthy and await self._is_as_known(member, http)):
                        feed = await self._admit(member, await self._adapter.discover(http, member.settings.url), feed)
                    failures = 0
                except Exception as error:  # noqa: BLE001 - the watch outlives any answer of a replica
                    failures += 1
                    self._note_failure(member, failures, error)
                await asyncio.sleep(self._settings.fleet.check_interval_s)
        finally:
            await _end(feed)

    async def _is_as_known(self, member: Member, http: httpx.AsyncClient) -> bool:
        """Whether a replica is still the process that was admitted; an engine may restart between two checks."""
        started_at = (await self._adapter.load(http, member.settings.url)).started_at
        known = None if member.facts is None else member.facts.load.started_at
        if started_at is None or known is None or started_at == known:
            return True
        logger.warning("%s restarted: what it held is gone", member.id)
        return False

    def _note_failure(self, member: Member, failures: int, error: Exception) -> None:
        if failures == self._settings.fleet.unhealthy_after or (failures == 1 and member.facts is None):
            is_bug = not isinstance(error, (httpx.HTTPError, ValueError))
            said = str(error).partition("\n")[0] or type(error).__name__
            logger.warning("%s is not answering: %s", member.id, said, exc_info=is_bug)
        if failures >= self._settings.fleet.unhealthy_after:
            member.is_healthy = False

    async def _admit(self, member: Member, facts: ReplicaFacts, feed: asyncio.Task[None] | None) -> asyncio.Task[None] | None:
        """Take a replica in that was not there before; its cache is whatever its feed will say."""
        await _end(feed)
        member.facts = facts
        source = event_source(member, facts) if self._settings.policy.name == "kv_aware" else None
        self._index.add_replica(
            member.id,
            DomainKey(
                model=facts.models[0] if facts.models else "",
                block_size=facts.load.block_size,
                algorithm=facts.load.hash_algorithm,
            ),
            num_blocks=facts.load.num_blocks,
            has_events=source is not None,
        )
        # It may have restarted while nobody looked: what was predicted of it is worth less than a miss.
        self._index.drop_blocks(member.id)
        member.feed = "none"
        member.is_healthy = True
        logger.info("%s serves %s; KV events: %s", member.id, ", ".join(facts.models), source.endpoint if source else "none")
        if source is None:
            return None
        task = Feed(member, source, adapter=self._adapter, index=self._index, metrics=self._metrics, clock=self._clock).run()
        return asyncio.create_task(task, name=f"feed {member.id}")


def event_source(member: Member, facts: ReplicaFacts) -> EventSourceInfo | None:
    """Where to listen for a replica's KV events: as set, else as it says; None where it has none or has several ranks.

    A call's rank is the engine's own choice, so routing cannot use blocks of several ranks: such a replica is predicted.
    """
    settings = member.settings
    if settings.events == "off":
        return None
    if settings.events_endpoint:
        return EventSourceInfo(rank=0, endpoint=settings.events_endpoint, replay_endpoint=settings.replay_endpoint or None)
    if len(facts.event_sources) != 1:
        return None
    source = facts.event_sources[0]
    if settings.replay_endpoint:
        source = msgspec.structs.replace(source, replay_endpoint=settings.replay_endpoint)
    return source


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
