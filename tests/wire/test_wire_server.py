"""What a client sees of the server: framing, keep-alive, order, handlers that fail."""

import asyncio
import json

import pytest

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


async def test_a_server_that_does_not_listen_yet_has_its_port_and_no_client(bench, echo):
    server = await bench.serve(echo, listens=False)
    with pytest.raises(ConnectionRefusedError):
        await bench.connect(server)
    await server.listen()
    client = await bench.connect(server)
    client.send(GET)
    assert (await client.answer())[0] == 200


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
