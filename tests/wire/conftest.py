"""Real sockets on loopback for the wire, on uvloop as in production: what starts servers, replicas and clients."""

import asyncio
import contextlib
import json

import pytest
import uvloop
from tests.wire.peers import GUARD_S, HandClock, RawClient, Record, Replica

from turnwise.proxy.wire.ports import Outgoing, ResponseHead
from turnwise.proxy.wire.relay import Relay
from turnwise.proxy.wire.server import serve
from turnwise.proxy.wire.upstream import Pool
from turnwise.settings import Server, UpstreamSettings

CALL = Outgoing("POST", "/v1/x", ((b"X-Own", b"1"),), {}, b"body")


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}


def render_error(fault, target):
    return json.dumps({"error": {"message": fault.message, "reason": fault.reason, "target": target}}).encode()


@pytest.fixture
async def replica():
    replica = Replica()
    await replica.start()
    yield replica
    await replica.close()


@pytest.fixture
def hand_clock():
    return HandClock()


class Bench:
    """Starts servers and clients, and takes them down."""

    def __init__(self):
        self.stack = contextlib.AsyncExitStack()
        self.clock = asyncio.get_running_loop().time
        self.results = asyncio.Queue()

    async def serve(self, handler, *, listens=True, **settings):
        server = await serve(
            handler,
            Server(port=0, **settings),
            clock=self.clock,
            render_error=render_error,
            new_id=lambda: "id-1",
            listens=listens,
        )
        self.stack.push_async_callback(server.close)
        return server

    def pool(self, *, clock=None, **settings):
        pool = Pool(UpstreamSettings(**settings), clock=clock or self.clock)
        self.stack.callback(pool.close)
        return pool

    async def proxy(self, origins, *, server=None, tap=None, stream_filter=None, pool=None, **upstream):
        """A server that relays to the first origin that answers; results of every attempt go to `results`.

        `stream_filter` makes the filter of each attempt.
        """
        pool = pool or self.pool(**upstream)

        async def handler(raw, client):
            for origin in origins:
                result = Relay(
                    client,
                    answer_headers=lambda head: head,
                    tap=tap,
                    stream_filter=None if stream_filter is None else stream_filter(),
                    error_event=lambda fault: b"\n\nevent: error\ndata: " + fault.reason.encode() + b"\n\n",
                    clock=self.clock,
                    loop=asyncio.get_running_loop(),
                )
                try:
                    result.begin(pool, origin, Outgoing(raw.method, raw.target, raw.headers, {}, raw.body))
                    await result.done
                finally:
                    result.end()
                self.results.put_nowait(result)
                if result.has_started or result.is_client_gone:
                    return
            body = render_error(result.fault, raw.target)
            client.start(ResponseHead(result.fault.status, b"", (), len(body)))
            client.write(body)
            client.finish()

        return await self.serve(handler, **(server or {}))

    async def connect(self, server, **kwargs):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**24, **kwargs)
        client = RawClient(reader, writer)
        self.stack.callback(client.reset)
        return client

    def sink(self):
        return Record()

    async def call(self, pool, origin, outgoing=CALL):
        """One exchange to its end; nothing but that it was sent may be told before `open` returns."""
        sink = Record()
        pool.open(origin, outgoing, sink)
        assert sink.events in ([], ["sent"])
        await asyncio.wait_for(sink.done.wait(), GUARD_S)
        return sink

    async def until(self, holds):
        """Let the loop turn until something holds that nobody announces."""
        async with asyncio.timeout(GUARD_S):
            while not holds():  # noqa: ASYNC110 - turns of the loop are what is waited for
                await asyncio.sleep(0)

    async def result(self):
        return await asyncio.wait_for(self.results.get(), GUARD_S)


@pytest.fixture
async def bench():
    bench = Bench()
    async with bench.stack:
        yield bench


@pytest.fixture
def echo():
    """A handler that answers with what it was asked, and keeps the requests."""

    class Echo:
        def __init__(self):
            self.requests = []

        async def __call__(self, raw, client):
            self.requests.append(raw)
            body = raw.method.encode() + b" " + raw.target.encode() + b" " + raw.body
            client.start(ResponseHead(200, b"OK", ((b"Content-Type", b"text/plain"),), len(body)))
            client.write(body)
            client.finish()

    return Echo()
