"""Real sockets on loopback for the wire: a server, a scripted replica and a raw client, on uvloop as in production."""

import asyncio
import contextlib
import json

import pytest
import uvloop

from turnwise.proxy.wire.ports import Origin, Outgoing, ResponseHead
from turnwise.proxy.wire.relay import Relay
from turnwise.proxy.wire.server import serve
from turnwise.proxy.wire.upstream import Pool
from turnwise.settings import Server, UpstreamSettings

GUARD_S = 20.0
"""No test waits this long: it turns a hang into a failure."""


CALL = Outgoing("POST", "/v1/x", ((b"X-Own", b"1"),), {}, b"body")


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}


def render_error(fault, target):
    return json.dumps({"error": {"message": fault.message, "reason": fault.reason, "target": target}}).encode()


class RawClient:
    """A client that writes any bytes and reads answers one by one."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    def send(self, data):
        self.writer.write(data)

    async def head(self):
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), GUARD_S)
        first, *lines = raw[:-4].split(b"\r\n")
        fields = [line.split(b": ", 1) for line in lines]
        return int(first.split()[1]), {name.lower(): value for name, value in fields}

    async def answer(self, *, has_body=True):
        """Status, fields and de-chunked body of one answer."""
        status, fields = await self.head()
        if not has_body:
            return status, fields, b""
        if b"content-length" in fields:
            return status, fields, await self.exactly(int(fields[b"content-length"]))
        if fields.get(b"transfer-encoding") != b"chunked":
            return status, fields, await self.rest()
        body = b""
        while True:
            size = int(await asyncio.wait_for(self.reader.readuntil(b"\r\n"), GUARD_S), 16)
            body += (await self.exactly(size + 2))[:-2]
            if size == 0:
                return status, fields, body

    async def exactly(self, size):
        return await asyncio.wait_for(self.reader.readexactly(size), GUARD_S)

    async def rest(self):
        return await asyncio.wait_for(self.reader.read(-1), GUARD_S)

    def close(self):
        self.writer.close()

    def reset(self):
        self.writer.transport.abort()


class Replica:
    """A scripted replica: `script(connection)` runs for each connection; what it read is kept."""

    def __init__(self):
        self.requests = []
        self.num_connections = 0
        self.script = None
        self.port = 0
        self.tasks = set()
        self.writers = []

    async def start(self):
        self.listener = await asyncio.start_server(self.accept, "127.0.0.1", 0, limit=2**24)
        self.port = self.listener.sockets[0].getsockname()[1]

    @property
    def origin(self):
        return Origin("127.0.0.1", self.port)

    async def accept(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.num_connections += 1
        self.writers.append(writer)
        connection = ReplicaConnection(self, reader, writer, self.num_connections)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.script(connection)
        writer.close()

    async def close(self):
        self.listener.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class ReplicaConnection:
    def __init__(self, replica, reader, writer, number):
        self.replica = replica
        self.reader = reader
        self.writer = writer
        self.number = number

    async def request(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = {}
        for line in head.split(b"\r\n")[1:-2]:
            name, value = line.split(b": ", 1)
            fields[name.lower()] = value
        body = await self.reader.readexactly(int(fields.get(b"content-length", 0)))
        self.replica.requests.append((head, body))
        return head, body

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def closed(self):
        """Wait until the other side has closed."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read(-1)

    def reset(self):
        self.writer.transport.abort()


@pytest.fixture
async def replica():
    replica = Replica()
    await replica.start()
    yield replica
    await replica.close()


class Record:
    """A sink that keeps what it was told."""

    def __init__(self):
        self.events = []
        self.body = b""
        self.head = None
        self.fault = None
        self.done = asyncio.Event()
        self.got_body = asyncio.Event()

    def on_sent(self):
        self.events.append("sent")

    def on_head(self, head):
        self.events.append("head")
        self.head = head

    def on_body(self, data):
        self.events.append("body")
        self.body += data
        self.got_body.set()

    def on_end(self, data=b""):
        if data:
            self.on_body(data)
        self.events.append("end")
        self.done.set()

    def on_failed(self, fault):
        self.events.append("failed")
        self.fault = fault
        self.done.set()


class HandClock:
    """A clock that moves only by hand; timers that fire before it has moved wait on."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


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
