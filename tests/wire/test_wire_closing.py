"""How a server goes: draining lets calls end, closing ends them."""

import asyncio

import pytest

from turnwise.errors import Reason
from turnwise.proxy.wire.ports import ResponseHead

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_draining_lets_the_answer_under_way_end_and_closes_idle_connections(bench):
    gate, begun = asyncio.Event(), asyncio.Event()

    async def handler(raw, client):
        begun.set()
        await gate.wait()
        client.start(ResponseHead(200, b"OK", (), 2))
        client.write(b"ok")
        client.finish()

    server = await bench.serve(handler)
    idle, busy = await bench.connect(server), await bench.connect(server)
    busy.send(GET)
    await begun.wait()
    assert server.num_connections == 2
    assert await server.drain(0.01) is False
    assert await idle.rest() == b""
    draining = asyncio.create_task(server.drain(20))
    gate.set()
    status, fields, body = await busy.answer()
    assert (status, fields[b"connection"], body) == (200, b"close", b"ok")
    assert await draining is True
    assert server.num_connections == 0
    with pytest.raises(OSError):
        await bench.connect(server)


async def test_closing_asks_the_handlers_to_end(bench):
    begun, settled = asyncio.Event(), asyncio.Event()
    asked = asyncio.Event()

    class Watcher:
        def on_closing(self):
            asked.set()

    async def handler(raw, client):
        client.watch(Watcher())
        begun.set()
        await asked.wait()
        client.abort()
        settled.set()

    server = await bench.serve(handler)
    client = await bench.connect(server)
    client.send(GET)
    await begun.wait()
    await server.close()
    assert settled.is_set()
    assert server.num_connections == 0


async def test_a_stream_that_outlives_the_server_ends_in_an_error_event(bench, replica):
    closed = asyncio.Event()

    async def script(connection):
        await connection.request()
        await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await connection.closed()
        closed.set()

    replica.script = script
    server = await bench.proxy([replica.origin])
    client = await bench.connect(server)
    client.send(GET)
    await client.head()
    await client.exactly(14)
    await server.close()
    assert await client.rest() == chunk(b"\n\nevent: error\ndata: draining\n\n") + b"0\r\n\r\n"
    result = await bench.result()
    assert (result.fault.reason, result.is_complete, result.is_client_gone) == (Reason.DRAINING, False, False)
    await asyncio.wait_for(closed.wait(), 20)


async def test_a_call_that_outlives_the_server_before_its_first_byte_is_a_503(bench, replica):
    asked = asyncio.Event()

    async def script(connection):
        await connection.request()
        asked.set()
        await connection.closed()

    replica.script = script
    server = await bench.proxy([replica.origin])
    client = await bench.connect(server)
    client.send(GET)
    await asked.wait()
    await server.close()
    status, fields, _ = await client.answer()
    assert (status, fields[b"connection"]) == (503, b"close")
    assert await client.rest() == b""
    result = await bench.result()
    assert (result.fault.reason, result.fault.retryable, result.has_started) == (Reason.DRAINING, False, False)
