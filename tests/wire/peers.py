"""Whom the wire speaks to in tests: a raw client, a scripted replica, a sink, and a clock that moves by hand."""

import asyncio
import contextlib

from turnwise.proxy.wire.ports import Origin

GUARD_S = 20.0
"""No test waits this long: it turns a hang into a failure."""


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
