"""What a client sees of the server: framing, keep-alive, order, timeouts, draining."""

import asyncio
import json

import pytest

from turnwise.errors import Reason
from turnwise.proxy.wire.ports import ResponseHead

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_connection_serves_one_request_after_another(bench, echo):
    client = await bench.connect(await bench.serve(echo))
    for number in range(3):
        client.send(b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" % number)
        status, fields, body = await client.answer()
        assert (status, body) == (200, b"POST /%d hi" % number)
        assert b"connection" not in fields
        assert b"date" in fields


async def test_connection_close_is_obeyed(bench, echo):
    client = await bench.connect(await bench.serve(echo))
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    _, fields, _ = await client.answer()
    assert fields[b"connection"] == b"close"
    assert await client.rest() == b""


async def test_http10_closes_unless_it_asks_to_be_kept(bench, echo):
    server = await bench.serve(echo)
    client = await bench.connect(server)
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (await client.answer())[1][b"connection"] == b"keep-alive"
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await client.answer())[1][b"connection"] == b"close"
    assert await client.rest() == b""


async def test_a_body_of_unknown_length_is_chunked_for_http11_and_ends_with_the_connection_for_http10(bench):
    async def handler(raw, client):
        client.start(ResponseHead(200, b"OK", (), None))
        client.write(b"one")
        client.write(b"")
        client.write(b"x" * 40_000)
        client.finish()

    server = await bench.serve(handler)
    client = await bench.connect(server)
    client.send(GET)
    status, fields, body = await client.answer()
    assert (status, fields[b"transfer-encoding"], body) == (200, b"chunked", b"one" + b"x" * 40_000)
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    status, fields, body = await client.answer()
    assert b"transfer-encoding" not in fields
    assert fields[b"connection"] == b"close"
    assert body == b"one" + b"x" * 40_000


async def test_a_chunked_request_is_joined_and_its_trailers_dropped(bench, echo):
    client = await bench.connect(await bench.serve(echo))
    client.send(
        b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n" + GET
    )
    assert (await client.answer())[2] == b"POST /c abc0123456789"
    assert (await client.answer())[2] == b"GET /a "
    assert all(name.lower() != b"x-t" for name, _ in echo.requests[0].headers)


async def test_pipelined_requests_are_answered_in_order_even_if_the_first_is_slow(bench):
    gate = asyncio.Event()
    begun = []

    async def handler(raw, client):
        begun.append(raw.target)
        if raw.target == "/slow":
            await gate.wait()
        client.start(ResponseHead(200, b"OK", (), len(raw.target)))
        client.write(raw.target.encode())
        client.finish()

    client = await bench.connect(await bench.serve(handler))
    client.send(b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in (b"/slow", b"/1", b"/2")))
    other = await bench.connect(await bench.serve(handler))
    other.send(GET)
    await other.answer()
    assert begun == ["/slow", "/a"]
    gate.set()
    assert [(await client.answer())[2] for _ in range(3)] == [b"/slow", b"/1", b"/2"]


async def test_more_pipelined_bytes_than_the_bound_leave_the_socket_unread_and_are_answered_later(bench):
    gate = asyncio.Event()

    async def handler(raw, client):
        await gate.wait()
        client.start(ResponseHead(200, b"OK", (), 0))
        client.finish()

    server = await bench.serve(handler)
    client = await bench.connect(server)
    pad = b"x" * 1000
    num_requests = 8000
    client.send((b"GET / HTTP/1.1\r\nHost: x\r\nPad: %b\r\n\r\n" % pad) * num_requests)
    await bench.until(client.writer.transport.get_write_buffer_size)
    (connection,) = server._hub.connections
    await bench.until(lambda: connection._unread_check is not None)
    assert connection._reader.num_held < 2**20
    gate.set()
    for _ in range(num_requests):
        assert (await client.answer())[0] == 200


async def test_a_client_that_leaves_an_unread_connection_is_noticed(bench):
    gone = asyncio.Event()

    class Watcher:
        def on_gone(self):
            gone.set()

    async def handler(raw, client):
        client.watch(Watcher())
        await gone.wait()

    server = await bench.serve(handler)
    client = await bench.connect(server)
    client.send(GET * 8000)
    await bench.until(lambda: any(connection._unread_check for connection in server._hub.connections))
    client.reset()
    await asyncio.wait_for(gone.wait(), 20)


async def test_expect_100_continue_is_answered_before_the_body_comes(bench, echo):
    client = await bench.connect(await bench.serve(echo))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.head())[0] == 100
    client.send(b"hi")
    assert (await client.answer())[2] == b"POST / hi"


async def test_a_body_that_is_too_large_is_refused_instead_of_continued(bench, echo):
    client = await bench.connect(await bench.serve(echo, max_body_bytes=1024))
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.answer())[0] == 413


async def test_an_unknown_expectation_gets_417(bench, echo):
    client = await bench.connect(await bench.serve(echo))
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n")
    assert (await client.answer())[0] == 417


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_an_answer_without_a_body_leaves_the_connection_in_step(bench, method, status):
    async def handler(raw, client):
        client.start(ResponseHead(status, b"", (), 5))
        client.write(b"12345")
        client.finish()

    client = await bench.connect(await bench.serve(handler))
    for _ in range(2):
        client.send(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")
        got, fields, _ = await client.answer(has_body=False)
        assert got == status
        assert (b"content-length" in fields) is (status != 204)


async def test_the_date_of_the_replica_is_kept(bench):
    async def handler(raw, client):
        client.start(ResponseHead(200, b"OK", ((b"Date", b"then"),), 0))
        client.finish()

    client = await bench.connect(await bench.serve(handler))
    client.send(GET)
    _, fields = await client.head()
    assert fields[b"date"] == b"then"


async def test_a_body_shorter_than_its_length_cuts_the_connection(bench):
    async def handler(raw, client):
        client.start(ResponseHead(200, b"OK", (), 5))
        client.write(b"123")
        client.finish()

    client = await bench.connect(await bench.serve(handler))
    client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()


async def test_a_body_longer_than_its_length_is_never_written_over_it(bench):
    async def handler(raw, client):
        client.start(ResponseHead(200, b"OK", (), 5))
        client.write(b"1234567")
        client.finish()

    client = await bench.connect(await bench.serve(handler))
    client.send(GET)
    assert (await client.answer())[2] == b"12345"
    assert await client.rest() == b""


async def test_a_handler_that_fails_before_its_answer_gives_a_500_and_the_connection_lives(bench, caplog):
    async def handler(raw, client):
        raise KeyError(raw.target)

    client = await bench.connect(await bench.serve(handler))
    for _ in range(2):
        client.send(GET)
        status, fields, body = await client.answer()
        assert (status, fields[b"x-turnwise-reason"], fields[b"x-request-id"]) == (500, b"bug", b"id-1")
        assert json.loads(body)["error"]["reason"] == "bug"
    assert "KeyError" in caplog.text


async def test_a_handler_that_fails_within_its_answer_cuts_the_connection(bench, caplog):
    async def handler(raw, client):
        client.start(ResponseHead(200, b"OK", (), None))
        client.write(b"part")
        raise KeyError(raw.target)

    client = await bench.connect(await bench.serve(handler))
    client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()
    assert "KeyError" in caplog.text


async def test_a_handler_that_answers_nothing_is_a_bug_and_says_so(bench, caplog):
    async def handler(raw, client):
        return

    client = await bench.connect(await bench.serve(handler))
    client.send(GET)
    assert (await client.answer())[0] == 500
    assert "unanswered" in caplog.text


async def test_a_header_that_holds_a_line_break_never_reaches_the_client(bench, caplog):
    async def handler(raw, client):
        client.start(ResponseHead(200, b"OK", ((b"X", b"a\r\nSet-Cookie: b"),), 0))

    client = await bench.connect(await bench.serve(handler))
    client.send(GET)
    status, fields, _ = await client.answer()
    assert status == 500
    assert b"set-cookie" not in fields


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


async def test_closing_tells_the_handlers_that_their_clients_are_gone(bench):
    begun, settled = asyncio.Event(), asyncio.Event()
    gone = asyncio.Event()

    class Watcher:
        def on_gone(self):
            gone.set()

    async def handler(raw, client):
        client.watch(Watcher())
        begun.set()
        await gone.wait()
        settled.set()

    server = await bench.serve(handler)
    client = await bench.connect(server)
    client.send(GET)
    await begun.wait()
    await server.close()
    assert settled.is_set()
    assert server.num_connections == 0
