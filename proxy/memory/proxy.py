"""The composition root of a proxy in memory, as `app` is that of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import msgspec

from turnwise.engines.sim.options import SimOptions
from turnwise.index import KvIndex
from turnwise.proxy import warm
from turnwise.proxy.discovery import Discovery
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.programs import ProgramFigures, ProgramTotals
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.front import Front
from turnwise.proxy.lint import Linter
from turnwise.proxy.memory.client import MemoryClient
from turnwise.proxy.memory.engines import MemoryAdapter, MemoryEngine, MemorySim, MemoryUpstream
from turnwise.proxy.pipeline import Pipeline
from turnwise.proxy.programs import Programs
from turnwise.proxy.programs.pauses import Pauses
from turnwise.proxy.sweep import keep_swept
from turnwise.proxy.wire.ports import Origin, RawRequest
from turnwise.settings import Settings
from turnwise.types import Headers

SWEEP_INTERVAL_S = 5.0
"""Pause of the index's housekeeping; longer than in the process, for on a virtual clock it is most of what there is to do."""


class MemoryProxy:
    """A proxy and one engine for each replica of `settings`; entering it waits until all take calls.

    `options` are those of all engines, or make the engine of each replica by its number.
    """

    def __init__(
        self, settings: Settings, options: SimOptions | Callable[[int], MemoryEngine], *, has_events: bool = True
    ) -> None:
        self.clock = asyncio.get_running_loop().time
        self.upstream = MemoryUpstream()
        for number, replica in enumerate(settings.replicas):
            engine = MemorySim(options) if isinstance(options, SimOptions) else options(number)
            self.upstream.engines[Origin.of(replica.url)] = engine
        self.index = KvIndex(settings.index)
        self.fleet = Fleet(settings, self.index)
        self.metrics = Metrics()
        self.programs = Programs(settings.programs, settings.traces, pauses=Pauses.of(settings.tools))
        totals = ProgramTotals(settings.programs)
        self.metrics.watch(totals)
        self.metrics.watch(ProgramFigures(self.programs))
        self.recorder = Recorder(
            self.index,
            self.fleet,
            self.metrics,
            Audit(),
            self.clock,
            linter=Linter.of(settings),
            programs=self.programs if settings.programs.enabled else None,
            listeners=(totals,),
        )
        pipeline = Pipeline(settings, self.fleet, self.upstream, self.recorder, self.clock)
        self.front = Front(pipeline, self.fleet, self.metrics, allow_paths=settings.surface.allow_paths, clock=self.clock)
        adapter = MemoryAdapter(self.upstream, has_events=has_events)
        self._state_file = settings.index.state_file
        remembered = warm.read(self._state_file, self.index, self.clock())
        self._discovery = Discovery(
            settings, self.fleet, self.index, self.metrics, adapter, clock=self.clock, remembered=remembered
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the engines and discover them."""
        for engine in self.upstream.engines.values():
            await self._stack.enter_async_context(engine)
        watching = asyncio.create_task(self._discovery.run(), name="discovery")
        sweeping = asyncio.create_task(keep_swept(self.index, self.clock, pause_s=SWEEP_INTERVAL_S), name="sweep")
        self._stack.push_async_callback(_end, watching)
        self._stack.push_async_callback(_end, sweeping)
        while not self._is_known():  # noqa: ASYNC110 - on a virtual clock, looking again costs nothing
            await asyncio.sleep(0.001)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        await self._stack.aclose()
        warm.write_last(self._state_file, self.index, self._discovery.remembered())

    async def call(
        self,
        body: bytes | dict[str, Any],
        *,
        path: str = "/v1/chat/completions",
        headers: Headers = (),
        method: str = "POST",
        client: MemoryClient | None = None,
    ) -> MemoryClient:
        """Do what a client does; returns it once its answer is complete."""
        client = client or MemoryClient()
        now = self.clock()
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
        fields = {name.lower(): value for name, value in reversed(headers)}
        raw = RawRequest(method=method, target=path, headers=headers, body=encoded, arrived_at=now, read_at=now, fields=fields)
        await self.front.handle(raw, client)
        return client

    def _is_known(self) -> bool:
        now = self.clock()
        return all(member.is_routable(now) and member.feed != "connecting" for member in self.fleet.members.values())


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
