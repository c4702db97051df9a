"""Where the server says no: malformed or oversized requests, clients that stall, and one too many."""

import asyncio
import json

import pytest

from turnwise.errors import Reason
from turnwise.proxy.wire.ports import ResponseHead

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "settings", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHo", {"head_timeout_s": 0.01}, 408, Reason.HEAD_TIMEOUT),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab", {"body_timeout_s": 0.01}, 408, Reason.BODY_TIMEOUT),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 1024, {"max_head_bytes": 1024}, 431, Reason.HEAD_TOO_LARGE),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 1024 + b"\r\n\r\n", {"max_head_bytes": 1024}, 431, Reason.HEAD_TOO_LARGE),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\n\r\n" + b"a" * 1025,
            {"max_body_bytes": 1024},
            413,
            Reason.BODY_TOO_LARGE,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n200\r\n" + b"a" * 512 + b"\r\n201\r\n",
            {"max_body_bytes": 1024},
            413,
            Reason.BODY_TOO_LARGE,
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {}, 505, Reason.HTTP_VERSION),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", {}, 501, Reason.UPGRADE),
        (b"\x16\x03\x01\x02\x00\x01", {}, 400, Reason.BAD_FRAMING),
    ],
)
async def test_a_request_that_cannot_be_taken_gets_its_reason_and_the_connection_ends(
    bench, echo, sent, settings, status, reason
):
    client = await bench.connect(await bench.serve(echo, **settings))
    client.send(sent)
    got, fields, body = await client.answer()
    assert (got, fields[b"x-turnwise-reason"].decode(), fields[b"connection"]) == (status, reason, b"close")
    assert json.loads(body)["error"]["message"]
    assert fields[b"x-request-id"] == b"id-1"
    assert await client.rest() == b""
    assert echo.requests == []


async def test_a_client_that_sends_on_after_a_refusal_still_reads_the_answer(bench, echo):
    client = await bench.connect(await bench.serve(echo, max_body_bytes=1024))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n" + b"a" * 4_000_000)
    assert (await client.answer())[0] == 413


async def test_a_body_cut_short_by_a_half_close_is_told(bench, echo):
    client = await bench.connect(await bench.serve(echo))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
    client.writer.write_eof()
    assert (await client.answer())[0] == 400
    assert echo.requests == []


async def test_an_idle_connection_is_closed_without_a_word(bench, echo):
    client = await bench.connect(await bench.serve(echo, keepalive_timeout_s=0.01))
    assert await client.rest() == b""


async def test_a_client_that_reads_nothing_for_long_is_cut(bench):
    gone = asyncio.Event()

    class Watcher:
        def on_gone(self):
            gone.set()

        def on_pause(self):
            pass

        def on_resume(self):
            pass

    async def handler(raw, client):
        client.watch(Watcher())
        client.start(ResponseHead(200, b"OK", (), None))
        client.write(b"x" * 50_000_000)
        await gone.wait()

    client = await bench.connect(await bench.serve(handler, keepalive_timeout_s=0.02))
    client.writer.transport.pause_reading()
    client.send(GET)
    await asyncio.wait_for(gone.wait(), 20)


async def test_one_connection_too_many_is_told_so_and_those_there_are_served(bench, echo):
    server = await bench.serve(echo, max_connections=1)
    first = await bench.connect(server)
    first.send(GET)
    await first.answer()
    second = await bench.connect(server)
    second.send(GET)
    status, fields, body = await second.answer()
    assert (status, fields[b"x-turnwise-reason"], fields[b"connection"]) == (503, b"too_many_connections", b"close")
    assert json.loads(body)["error"]["reason"] == "too_many_connections"
    assert await second.rest() == b""
    first.send(GET)
    assert (await first.answer())[0] == 200
    assert len(echo.requests) == 2
    first.close()
    await bench.until(lambda: len(server._hub.connections) == len(server._hub.turned_away))
    third = await bench.connect(server)
    third.send(GET)
    assert (await third.answer())[0] == 200


async def test_a_flood_of_connections_is_cut_without_an_answer(bench, echo):
    server = await bench.serve(echo, max_connections=1)
    served, told = await bench.connect(server), await bench.connect(server)
    assert (await told.answer())[0] == 503
    assert await (await bench.connect(server)).rest() == b""
    served.send(GET)
    assert (await served.answer())[0] == 200
