# Longer than 300 lines because all that a whole proxy in memory consists of is read in one place.
"""A whole proxy in memory: the real steps, index and policy over embedded engines, with no socket between them.

On `engines.sim.virtual_time` an hour of it takes moments and two runs are equal, so it serves tests and studies of policy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Protocol, Self

import httpx
import msgspec

from turnwise.engines.base import EventSource
from turnwise.engines.sim.api import SimAnswer, SimEngine
from turnwise.engines.sim.core import EngineStopped
from turnwise.engines.sim.options import SimOptions
from turnwise.errors import EngineFault, Reason
from turnwise.events import EventSourceInfo, LoadReport, ReplicaFacts
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
from turnwise.proxy.pipeline import Pipeline
from turnwise.proxy.programs import Programs
from turnwise.proxy.programs.pauses import Pauses
from turnwise.proxy.sweep import keep_swept
from turnwise.proxy.wire.ports import ClientWatcher, Origin, Outgoing, RawRequest, ResponseHead, Sink
from turnwise.settings import Settings
from turnwise.types import Headers

KEPT_REQUESTS = 1024
"""Requests that an upstream in memory remembers for tests to look at."""

SWEEP_INTERVAL_S = 5.0
"""Pause of the index's housekeeping; longer than in the process, for on a virtual clock it is most of what there is to do."""


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


class MemoryClient:
    """A client that keeps what it is given."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.body = b""
        self.is_finished = False
        self.is_aborted = False
        self.is_gone = False
        self.started = asyncio.Event()
        self._watcher: ClientWatcher | None = None

    @property
    def has_started(self) -> bool:
        """See `Client.has_started`."""
        return self.head is not None

    def watch(self, watcher: ClientWatcher | None) -> None:
        """See `Client.watch`."""
        self._watcher = watcher

    def start(self, head: ResponseHead) -> None:
        """See `Client.start`."""
        self.head = head
        self.started.set()

    def write(self, data: bytes) -> None:
        """See `Client.write`."""
        self.body += data

    write_chunk = None
    """See `Client.write_chunk`: nothing is framed."""

    def finish(self, data: bytes = b"") -> None:
        """See `Client.finish`."""
        self.body += data
        self.is_finished = True
        self._watcher = None

    def abort(self) -> None:
        """See `Client.abort`."""
        self.is_aborted = True

    def leave(self) -> None:
        """Close the connection from the client's side."""
        self.is_gone = True
        if self._watcher is not None:
            self._watcher.on_gone()

    @property
    def headers(self) -> dict[str, str]:
        """Fields of the answer, names in lower case."""
        assert self.head is not None
        return {name.lower().decode(): value.decode("latin-1") for name, value in self.head.fields()}

    def json(self) -> Any:
        """Decode the answer's body."""
        return msgspec.json.decode(self.body)


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


def _break_off(sink: Sink, *, has_begun: bool) -> None:
    sink.on_failed(EngineFault("reset", reason=Reason.STREAM_BROKEN, retryable=not has_begun))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
