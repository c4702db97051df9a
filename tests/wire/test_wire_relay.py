"""Client, proxy and replica together: what passes through, and what either side's failure does to the other."""

import asyncio

import pytest

from turnwise.errors import Reason
from turnwise.proxy.wire.connection import WRITE_HIGH_BYTES

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


class FakeTap:
    unread = None
    usage = first_token_at = first_visible_at = finish_reason = None

    def __init__(self):
        self.told = []

    def on_head(self, status, *, is_stream):
        self.told.append((status, is_stream))

    def feed(self, data, now):
        self.told.append(data)

    def close(self, now):
        self.told.append("closed")


class Shout:
    """A filter that holds the last byte back."""

    mark = None

    def __init__(self):
        self.held = b""

    def feed(self, data):
        data = self.held + data.upper()
        self.held = data[-1:]
        return data[:-1]

    def close(self):
        return self.held


async def test_a_stream_passes_read_by_read_and_the_tap_sees_it(bench, replica):
    gate = asyncio.Event()

    async def script(connection):
        await connection.request()
        await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await gate.wait()
        await connection.send(chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    replica.script = script
    tap = FakeTap()
    client = await bench.connect(await bench.proxy([replica.origin], tap=tap))
    client.send(POST)
    status, fields = await client.head()
    assert (status, fields[b"content-type"]) == (200, b"text/event-stream")
    assert await client.exactly(14) == b"9\r\ndata: 1\n\n\r\n"
    gate.set()
    assert await client.exactly(19) == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    result = await bench.result()
    assert result.is_complete
    assert result.has_started
    assert (result.status, result.body_bytes, result.fault) == (200, 18, None)
    assert result.sent_at <= result.head_at <= result.first_byte_at <= result.last_byte_at
    assert tap.told == [(200, True), b"data: 1\n\n", b"data: 2\n\n", "closed"]


async def test_a_filter_changes_streams_and_only_streams(bench, replica):
    async def script(connection):
        await connection.request()
        await connection.send(STREAM_HEAD + chunk(b"abc") + chunk(b"d") + b"0\r\n\r\n")
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")

    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin], stream_filter=Shout))
    client.send(POST)
    assert (await client.answer())[2] == b"ABCD"
    client.send(POST)
    assert (await client.answer())[2] == b"abc"


async def test_an_error_of_the_replica_passes_unchanged(bench, replica):
    async def script(connection):
        await connection.request()
        await connection.send(b"HTTP/1.1 422 Odd Phrase\r\nContent-Length: 2\r\nX-Why: y\r\n\r\nno")

    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin]))
    client.send(POST)
    status, fields, body = await client.answer()
    assert (status, fields[b"x-why"], body) == (422, b"y", b"no")


async def test_head_completes_at_its_head_with_the_replicas_length(bench, replica):
    async def script(connection):
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")

    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin]))
    client.send(b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n")
    status, fields, _ = await client.answer(has_body=False)
    assert (status, fields[b"content-length"]) == (200, b"77")


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"[:-2], STREAM_HEAD])
async def test_a_replica_that_dies_before_its_first_body_byte_leaves_the_client_to_another(bench, replica, before):
    async def script(connection):
        await connection.request()
        if connection.number == 1:
            await connection.send(before)
            connection.reset()
        else:
            await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n") + b"0\r\n\r\n")

    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin, replica.origin]))
    client.send(POST)
    status, _, body = await client.answer()
    assert (status, body) == (200, b"data: 1\n\n")
    first, second = await bench.result(), await bench.result()
    assert (first.has_started, first.fault.retryable, first.fault.reason) == (False, True, Reason.STREAM_BROKEN)
    assert second.is_complete


async def test_a_replica_that_dies_within_a_stream_gives_an_error_event_and_the_connection_lives(bench, replica):
    async def script(connection):
        await connection.request()
        await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await connection.request()

    async def kill():
        await client.head()
        await client.exactly(14)
        replica.writers[0].transport.abort()

    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin, replica.origin]))
    client.send(POST)
    await kill()
    event = b"\n\nevent: error\ndata: stream_broken\n\n"
    assert await client.exactly(len(chunk(event)) + 5) == chunk(event) + b"0\r\n\r\n"
    result = await bench.result()
    assert (result.has_started, result.is_complete, result.fault.reason) == (True, False, Reason.STREAM_BROKEN)
    assert len(replica.requests) == 1
    replica.script = script
    client.send(POST)
    assert (await client.head())[0] == 200


async def test_what_a_filter_holds_back_has_not_reached_the_client_so_another_replica_may_be_tried(bench, replica):
    async def script(connection):
        await connection.request()
        if connection.number == 1:
            await connection.send(STREAM_HEAD + chunk(b"x"))
            await replica.fed.wait()
            connection.reset()
        else:
            await connection.send(STREAM_HEAD + chunk(b"y") + b"0\r\n\r\n")

    class Telling(Shout):
        def feed(self, data):
            replica.fed.set()
            return super().feed(data)

    replica.fed = asyncio.Event()
    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin, replica.origin], stream_filter=Telling))
    client.send(POST)
    status, _, body = await client.answer()
    assert (status, body) == (200, b"Y")
    first, second = await bench.result(), await bench.result()
    assert (first.has_started, first.body_bytes, first.fault.retryable) == (False, 1, True)
    assert (second.has_started, second.is_complete) == (True, True)


async def test_a_stream_that_a_filter_swallows_whole_is_an_empty_answer(bench, replica):
    class Silence(Shout):
        def feed(self, data):
            return b""

    async def script(connection):
        await connection.request()
        await connection.send(STREAM_HEAD + chunk(b"x") + b"0\r\n\r\n")

    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin], stream_filter=Silence))
    client.send(POST)
    status, fields, body = await client.answer()
    assert (status, fields[b"content-type"], body) == (200, b"text/event-stream", b"")


async def test_a_replica_that_dies_within_any_other_answer_cuts_the_client(bench, replica):
    async def script(connection):
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"part"))

    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin]))
    client.send(POST)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()
    assert (await bench.result()).fault.reason is Reason.STREAM_BROKEN


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_a_client_that_leaves_aborts_the_replica_at_once(bench, replica, leave):
    closed = asyncio.Event()

    async def script(connection):
        await connection.request()
        await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await connection.closed()
        closed.set()

    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin]))
    client.send(POST)
    await client.head()
    getattr(client, leave)()
    await asyncio.wait_for(closed.wait(), 20)
    result = await bench.result()
    assert result.is_client_gone
    assert not result.is_complete


async def test_a_client_that_leaves_before_the_first_byte_aborts_the_replica_too(bench, replica):
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(connection):
        await connection.request()
        asked.set()
        await connection.closed()
        closed.set()

    replica.script = script
    client = await bench.connect(await bench.proxy([replica.origin]))
    client.send(POST)
    await asked.wait()
    client.close()
    await asyncio.wait_for(closed.wait(), 20)
    result = await bench.result()
    assert (result.is_client_gone, result.has_started, result.status) == (True, False, None)


async def test_a_slow_reader_of_100_mb_pauses_the_replica_and_is_served_in_full(bench, replica):
    size, piece = 100_000_000, b"x" * 1_000_000
    num_sent = 0

    async def script(connection):
        nonlocal num_sent
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            await connection.send(piece)
            num_sent += len(piece)

    replica.script = script
    server = await bench.proxy([replica.origin])
    client = await bench.connect(server)
    client.writer.transport.pause_reading()
    client.send(POST)
    await bench.until(lambda: server._hub.connections)
    (connection,) = server._hub.connections
    await bench.until(lambda: connection._is_write_paused)
    seen = -1
    while seen != num_sent:
        seen = num_sent
        for _ in range(2000):
            await asyncio.sleep(0)
    assert num_sent < size / 2
    most = WRITE_HIGH_BYTES + 256 * 1024
    assert connection._transport.get_write_buffer_size() <= most
    client.writer.transport.resume_reading()
    await client.head()
    left = size
    while left:
        left -= len(await client.exactly(min(left, 1_000_000)))
        assert connection._transport.get_write_buffer_size() <= most
    result = await bench.result()
    assert (result.is_complete, result.body_bytes) == (True, size)
