"""The replicas' end in memory: engines, the upstream that calls them, and what discovery and feeds ask of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol

import httpx
import msgspec

from turnwise.engines.base import EventSource
from turnwise.engines.sim.api import SimAnswer, SimEngine
from turnwise.engines.sim.core import EngineStopped
from turnwise.errors import EngineFault, Reason
from turnwise.events import EventSourceInfo, LoadReport, ReplicaFacts
from turnwise.proxy.wire.ports import Origin, Outgoing, ResponseHead, Sink

KEPT_REQUESTS = 1024
"""Requests that an upstream in memory remembers for tests to look at."""


class MemoryEngine(AbstractAsyncContextManager[Any], Protocol):
    """An engine that answers in memory."""

    async def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> SimAnswer:
        """Answer one request."""

    def event_source(self) -> EventSource:
        """A subscription to its KV events."""

    def facts(self, source: EventSourceInfo) -> ReplicaFacts:
        """What discovery learns of it; `source` is where its events are heard."""


class MemorySim(SimEngine):
    """The embedded engine as one in memory."""

    def facts(self, source: EventSourceInfo) -> ReplicaFacts:
        """See `MemoryEngine.facts`."""
        return ReplicaFacts(
            models=(self.options.model, *self.options.loras),
            event_sources=(source,),
            load=LoadReport(
                block_size=self.preset.block_size,
                num_blocks=None if self.options.hides_capacity else self.preset.num_blocks,
                hash_algorithm="sim_xxh3_64",
            ),
        )


class MemoryExchange:
    """A request to an engine in memory; reading cannot be paused, for nothing is buffered."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def pause(self) -> None:
        """Do nothing: the client in memory is never slow."""

    def resume(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._task.cancel()


class MemoryUpstream:
    """Embedded engines by origin. One in `killed` refuses; one in `breaks_after` breaks a stream after so many reads."""

    def __init__(self) -> None:
        self.engines: dict[Origin, MemoryEngine] = {}
        self.killed: set[Origin] = set()
        self.breaks_after: dict[Origin, int] = {}
        self.requests: deque[tuple[Origin, Outgoing]] = deque(maxlen=KEPT_REQUESTS)

    def open(self, origin: Origin, outgoing: Outgoing, sink: Sink) -> MemoryExchange:
        """See `Upstream.open`."""
        self.requests.append((origin, outgoing))
        return MemoryExchange(asyncio.get_running_loop().create_task(self._run(origin, outgoing, sink)))

    async def _run(self, origin: Origin, outgoing: Outgoing, sink: Sink) -> None:
        if origin in self.killed:
            sink.on_failed(EngineFault("refused", reason=Reason.CONNECT_FAILED, retryable=True))
            return
        sink.on_sent()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in outgoing.fields()}
        try:
            answer = await self.engines[origin].handle(outgoing.method, outgoing.target, headers, outgoing.body)
        except EngineStopped:
            _break_off(sink, has_begun=False)
            return
        head = tuple((name.encode(), value.encode()) for name, value in answer.headers)
        length = len(answer.body) if isinstance(answer.body, bytes) else None
        sink.on_head(ResponseHead(status=answer.status, phrase=b"", headers=head, length=length))
        if await self._push_body(origin, answer, sink):
            sink.on_end()

    async def _push_body(self, origin: Origin, answer: SimAnswer, sink: Sink) -> bool:
        """Push an answer's body; says whether it was whole."""
        if isinstance(answer.body, bytes):
            sink.on_body(answer.body)
            return True
        number = 0
        try:
            async with aclosing(answer.body) as chunks:
                async for chunk in chunks:
                    if self.breaks_after.get(origin) == number:
                        _break_off(sink, has_begun=number > 0)
                        return False
                    sink.on_body(chunk)
                    number += 1
        except EngineStopped:
            _break_off(sink, has_begun=number > 0)
            return False
        return True


class MemoryAdapter:
    """Control calls and events of engines in memory; `has_events` is whether they are listened to."""

    def __init__(self, upstream: MemoryUpstream, *, has_events: bool) -> None:
        self._upstream = upstream
        self._has_events = has_events

    async def discover(self, http: httpx.AsyncClient, base_url: str) -> ReplicaFacts:
        """See `EngineAdapter.discover`."""
        await self.models(http, base_url)
        facts = self._upstream.engines[Origin.of(base_url)].facts(
            EventSourceInfo(rank=0, endpoint=base_url, replay_endpoint=base_url)
        )
        return facts if self._has_events else msgspec.structs.replace(facts, event_sources=())

    async def models(self, http: httpx.AsyncClient, base_url: str) -> tuple[str, ...]:
        """See `EngineAdapter.models`."""
        del http
        if Origin.of(base_url) in self._upstream.killed:
            raise httpx.ConnectError("refused")
        source = EventSourceInfo(rank=0, endpoint=base_url, replay_endpoint=base_url)
        return self._upstream.engines[Origin.of(base_url)].facts(source).models

    async def load(self, http: httpx.AsyncClient, base_url: str) -> LoadReport:
        """See `EngineAdapter.load`."""
        del http, base_url
        return LoadReport()

    def events(self, source: EventSourceInfo) -> EventSource:
        """See `EngineAdapter.events`."""
        return self._upstream.engines[Origin.of(source.endpoint)].event_source()


def _break_off(sink: Sink, *, has_begun: bool) -> None:
    sink.on_failed(EngineFault("reset", reason=Reason.STREAM_BROKEN, retryable=not has_begun))
