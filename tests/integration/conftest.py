"""The pipeline over engines in memory: real steps, real index, real policy, embedded engines, and no socket."""

import asyncio
from contextlib import AsyncExitStack, aclosing

import msgspec
import pytest

from turnwise.engines.sim.api import SimEngine
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.errors import EngineFault, Reason
from turnwise.events import EventSourceInfo, LoadReport, ReplicaFacts
from turnwise.index import KvIndex
from turnwise.proxy.discovery import Discovery
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.front import Front
from turnwise.proxy.pipeline import Pipeline
from turnwise.proxy.wire.ports import Origin, RawRequest, ResponseHead
from turnwise.settings import PolicySettings, Replica, Settings


class MemoryClient:
    """A client that keeps what it is given."""

    def __init__(self):
        self.head = None
        self.body = b""
        self.is_finished = False
        self.is_aborted = False
        self.is_gone = False
        self.watcher = None
        self.started = asyncio.Event()

    @property
    def has_started(self):
        return self.head is not None

    def watch(self, watcher):
        self.watcher = watcher

    def start(self, head):
        self.head = head
        self.started.set()

    def write(self, data):
        self.body += data

    def finish(self):
        self.is_finished = True

    def abort(self):
        self.is_aborted = True

    def leave(self):
        self.is_gone = True
        if self.watcher is not None:
            self.watcher.on_gone()

    @property
    def headers(self):
        return {name.lower().decode(): value.decode() for name, value in self.head.headers}

    def json(self):
        return msgspec.json.decode(self.body)


class MemoryExchange:
    def __init__(self, task):
        self._task = task

    def pause(self):
        pass

    def resume(self):
        pass

    def abort(self):
        self._task.cancel()


class MemoryUpstream:
    """Engines by origin; one that was killed refuses, or breaks what it was saying."""

    def __init__(self):
        self.engines = {}
        self.killed = set()
        self.break_after = {}
        self.requests = []

    def open(self, origin, outgoing, sink):
        self.requests.append((origin, outgoing))
        return MemoryExchange(asyncio.get_running_loop().create_task(self._run(origin, outgoing, sink)))

    async def _run(self, origin, outgoing, sink):
        await asyncio.sleep(0)
        if origin in self.killed:
            sink.on_failed(EngineFault("refused", reason=Reason.CONNECT_FAILED, retryable=True))
            return
        sink.on_sent()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in outgoing.headers}
        answer = await self.engines[origin].handle(outgoing.method, outgoing.target, headers, outgoing.body)
        head = tuple((name.encode(), value.encode()) for name, value in answer.headers)
        whole = isinstance(answer.body, bytes)
        sink.on_head(ResponseHead(status=answer.status, phrase=b"", headers=head, length=len(answer.body) if whole else None))
        if whole:
            sink.on_body(answer.body)
        else:
            async with aclosing(answer.body) as chunks:
                number = 0
                async for chunk in chunks:
                    if self.break_after.get(origin) == number:
                        sink.on_failed(EngineFault("reset", reason=Reason.STREAM_BROKEN, retryable=number == 0))
                        return
                    sink.on_body(chunk)
                    number += 1
        sink.on_end()


class MemoryAdapter:
    """Control calls and events of engines in memory."""

    def __init__(self, upstream, model, *, stamps):
        self._upstream = upstream
        self._model = model
        self._has_events = stamps

    def _engine(self, url):
        return self._upstream.engines[origin_of(url)]

    async def discover(self, _http, url):
        preset = self._engine(url).preset
        sources = (EventSourceInfo(rank=0, endpoint=url, replay_endpoint=url),) if self._has_events else ()
        return ReplicaFacts(
            models=(self._model,),
            event_sources=sources,
            load=LoadReport(block_size=preset.block_size, num_blocks=preset.num_blocks, hash_algorithm="sim"),
        )

    async def load(self, _http, url):
        if origin_of(url) in self._upstream.killed:
            raise ValueError("not answering")
        return LoadReport()

    def events(self, source):
        return self._engine(source.endpoint).event_source()


def origin_of(url):
    host, port = url.removeprefix("http://").split(":")
    return Origin(host=host, port=int(port))


class World:
    """A whole proxy in memory: `call` is what a client does."""

    def __init__(self, settings, *, has_events=True, **options):
        self.settings = settings
        self.upstream = MemoryUpstream()
        self.clock = asyncio.get_running_loop().time
        self.index = KvIndex(settings.index)
        self.fleet = Fleet(settings, self.index)
        self.metrics = Metrics()
        self.recorder = Recorder(self.index, self.fleet, self.metrics, Audit(), self.clock)
        self.pipeline = Pipeline(settings, self.fleet, self.upstream, self.recorder, self.clock)
        self.front = Front(self.pipeline, self.fleet, self.metrics, allow_paths=(), clock=self.clock)
        for replica in settings.replicas:
            self.upstream.engines[origin_of(replica.url)] = SimEngine(SimOptions(model="sim", **options))
        adapter = MemoryAdapter(self.upstream, "sim", stamps=has_events)
        self._discovery = Discovery(settings, self.fleet, self.index, self.metrics, adapter, clock=self.clock)
        self._stack = AsyncExitStack()

    async def __aenter__(self):
        for engine in self.upstream.engines.values():
            await self._stack.enter_async_context(engine)
        watching = asyncio.create_task(self._discovery.run())

        async def stop():
            watching.cancel()
            await asyncio.wait([watching])

        self._stack.push_async_callback(stop)
        await asyncio.sleep(0.1)
        return self

    async def __aexit__(self, *error):
        await self._stack.aclose()

    def new_client(self):
        return MemoryClient()

    async def call(self, body, *, path="/v1/chat/completions", headers=(), client=None, method="POST"):
        client = client or MemoryClient()
        now = self.clock()
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
        raw = RawRequest(method=method, target=path, headers=headers, body=encoded, arrived_at=now, read_at=now)
        await self.front.handle(raw, client)
        return client

    @property
    def last(self):
        return self.recorder.recent[-1]


def settings_for(count=2, *, policy=None, **changes):
    replicas = tuple(Replica(url=f"http://sim:{9000 + number}", name=f"r{number}") for number in range(count))
    return Settings(replicas=replicas, policy=policy or PolicySettings(), **changes)


@pytest.fixture
def world():
    """Makes a world: `async with world(count=2, policy=..., num_blocks=...) as proxy`."""

    def make(count=2, *, policy=None, has_events=True, changes=None, **options):
        return World(settings_for(count, policy=policy, **(changes or {})), has_events=has_events, **options)

    return make


@pytest.fixture
def virtually():
    """Runs a coroutine on a virtual clock."""
    return run_virtual
