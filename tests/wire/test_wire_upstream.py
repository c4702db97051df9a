"""What the pool makes of a replica: reuse, framing of answers, and every way in which it can fail."""

import asyncio

import pytest

from turnwise.errors import Reason
from turnwise.proxy.wire.ports import Origin, Outgoing
from turnwise.proxy.wire.upstream import KEEPALIVE_RACE_S
from turnwise.proxy.wire.upstream_connection import encode_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CALL = Outgoing("POST", "/v1/x", ((b"X-Own", b"1"),), {}, b"body")


def answering(*answers, then_close=False):
    async def script(connection):
        for answer in answers:
            await connection.request()
            await connection.send(answer)
        if not then_close:
            await connection.closed()

    return script


async def test_a_kept_connection_is_used_again(bench, replica):
    replica.script = answering(OK, OK, OK)
    pool = bench.pool()
    for _ in range(3):
        sink = await bench.call(pool, replica.origin)
        assert sink.events == ["sent", "head", "body", "end"]
    assert (replica.num_connections, pool.num_connections, pool.num_idle) == (1, 1, 1)


async def test_the_request_carries_host_length_and_the_given_fields_but_no_hop_by_hop_ones(bench, replica):
    replica.script = answering(OK)
    headers = (
        (b"Host", b"other"),
        (b"X-Own", b"1"),
        (b"Connection", b"keep-alive, X-Named"),
        (b"X-Named", b"2"),
        (b"TE", b"trailers"),
        (b"Proxy-Authorization", b"secret"),
        (b"Expect", b"100-continue"),
        (b"Content-Length", b"99"),
        (b"Transfer-Encoding", b"chunked"),
    )
    await bench.call(bench.pool(), replica.origin, Outgoing("POST", "/p?q=1", headers, {}, b"body"))
    ((head, body),) = replica.requests
    host = b"127.0.0.1:%d" % replica.port
    assert head == b"POST /p?q=1 HTTP/1.1\r\nHost: %b\r\nX-Own: 1\r\nContent-Length: 4\r\n\r\n" % host
    assert body == b"body"


@pytest.mark.parametrize(
    ("raw", "body", "length", "is_kept"),
    [
        (OK, b"ok", 2, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n", b"ok", None, True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok", 2, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", 2, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", None, True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", b"", 7, True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok", 2, True),
        (OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"ok", 2, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", 0, True),
    ],
)
async def test_each_framing_of_an_answer_is_read(bench, replica, raw, body, length, is_kept):
    replica.script = answering(raw)
    pool = bench.pool()
    sink = await bench.call(pool, replica.origin)
    assert (sink.body, sink.head.length, sink.events[-1]) == (body, length, "end")
    assert pool.num_idle == is_kept
    assert all(name.lower() not in {b"link", b"x-trailer", b"connection", b"content-length"} for name, _ in sink.head.headers)


async def test_an_answer_without_a_length_ends_with_the_connection(bench, replica):
    replica.script = answering(b"HTTP/1.1 200 OK\r\n\r\nsome", then_close=True)
    sink = await bench.call(bench.pool(), replica.origin)
    assert (sink.body, sink.head.length, sink.events[-1]) == (b"some", None, "end")


async def test_the_answer_to_head_ends_at_its_head_and_keeps_its_length(bench, replica):
    replica.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
    sink = await bench.call(bench.pool(), replica.origin, Outgoing("HEAD", "/", (), {}, b""))
    assert (sink.events, sink.head.length) == (["sent", "head", "end"], 1234)


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300_000,
    ],
)
async def test_a_malformed_answer_is_a_broken_stream_and_is_never_retried_silently(bench, replica, raw):
    async def script(connection):
        await connection.request()
        await connection.send(OK)
        await connection.request()
        await connection.send(raw)
        await connection.closed()

    replica.script = script
    pool = bench.pool()
    await bench.call(pool, replica.origin)
    sink = await bench.call(pool, replica.origin)
    assert (sink.fault.reason, sink.fault.status, sink.fault.retryable) == (Reason.STREAM_BROKEN, 502, True)
    assert (pool.num_idle, replica.num_connections) == (0, 1)


async def test_a_refused_connection_is_a_retryable_fault(bench, replica):
    origin = replica.origin
    await replica.close()
    sink = await bench.call(bench.pool(), origin)
    assert (sink.events, sink.fault.reason, sink.fault.retryable) == (["failed"], Reason.CONNECT_FAILED, True)


async def test_a_kept_connection_that_dies_under_the_request_is_replaced_once(bench, replica, hand_clock):
    async def script(connection):
        await connection.request()
        if connection.number == 1:
            await connection.send(OK)
            await connection.request()
            hand_clock.now += KEEPALIVE_RACE_S
            connection.reset()
        else:
            await connection.send(OK)
            await connection.closed()

    replica.script = script
    pool = bench.pool(clock=hand_clock)
    await bench.call(pool, replica.origin)
    sink = await bench.call(pool, replica.origin)
    assert (sink.body, sink.fault, replica.num_connections) == (b"ok", None, 2)


async def test_a_kept_connection_that_dies_while_the_replica_works_is_a_failed_attempt(bench, replica, hand_clock):
    async def script(connection):
        await connection.request()
        await connection.send(OK)
        await connection.request()
        hand_clock.now += 1.0
        connection.reset()

    replica.script = script
    pool = bench.pool(clock=hand_clock)
    await bench.call(pool, replica.origin)
    sink = await bench.call(pool, replica.origin)
    assert (sink.events, sink.fault.reason, sink.fault.retryable) == (["sent", "failed"], Reason.STREAM_BROKEN, True)
    assert (len(replica.requests), replica.num_connections) == (2, 1)


async def test_a_fresh_connection_that_dies_is_not_replaced(bench, replica):
    async def script(connection):
        await connection.request()
        connection.reset()

    replica.script = script
    sink = await bench.call(bench.pool(), replica.origin)
    assert (sink.fault.reason, sink.fault.retryable, replica.num_connections) == (Reason.STREAM_BROKEN, True, 1)


async def test_a_replica_that_dies_within_the_body_breaks_the_stream(bench, replica):
    replica.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart", then_close=True)
    sink = await bench.call(bench.pool(), replica.origin)
    assert (sink.body, sink.events, sink.fault.reason) == (b"part", ["sent", "head", "body", "failed"], Reason.STREAM_BROKEN)


async def test_a_silent_replica_is_a_504(bench, replica):
    async def script(connection):
        await connection.request()
        await connection.closed()

    replica.script = script
    sink = await bench.call(bench.pool(idle_timeout_s=0.01), replica.origin)
    assert (sink.fault.reason, sink.fault.status, sink.fault.retryable) == (Reason.ENGINE_TIMEOUT, 504, False)


async def test_a_paused_exchange_is_not_silent(bench, replica, hand_clock):
    replica.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart", b"")
    sink = bench.sink()
    exchange = bench.pool(idle_timeout_s=0.01, clock=hand_clock).open(replica.origin, CALL, sink)
    await sink.got_body.wait()
    exchange.pause()
    hand_clock.now += 100
    other = await bench.call(bench.pool(idle_timeout_s=0.05), replica.origin)
    assert other.fault.reason is Reason.ENGINE_TIMEOUT
    assert sink.fault is None
    exchange.resume()
    hand_clock.now += 100
    await asyncio.wait_for(sink.done.wait(), 20)
    assert sink.fault.reason is Reason.ENGINE_TIMEOUT


async def test_an_aborted_exchange_closes_its_connection_and_says_nothing(bench, replica):
    closed = asyncio.Event()

    async def script(connection):
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
        await connection.closed()
        closed.set()

    replica.script = script
    sink = bench.sink()
    pool = bench.pool()
    exchange = pool.open(replica.origin, CALL, sink)
    await sink.got_body.wait()
    told = list(sink.events)
    exchange.abort()
    await asyncio.wait_for(closed.wait(), 20)
    assert (sink.events, pool.num_connections) == (told, 0)


async def test_an_exchange_aborted_before_its_connection_opens_says_nothing(bench, replica):
    replica.script = answering(OK)
    sink = bench.sink()
    pool = bench.pool()
    pool.open(replica.origin, CALL, sink).abort()
    await bench.call(pool, replica.origin)
    assert (sink.events, len(replica.requests)) == ([], 1)


async def test_an_answer_that_comes_before_the_whole_request_was_sent_spends_the_connection(bench, replica):
    async def script(connection):
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        connection.writer.transport.pause_reading()
        await asyncio.Event().wait()

    replica.script = script
    pool = bench.pool()
    sink = await bench.call(pool, replica.origin, Outgoing("POST", "/", (), {}, b"x" * 30_000_000))
    assert (sink.head.status, sink.body, sink.fault, pool.num_idle) == (413, b"no", None, 0)


async def test_idle_connections_are_bounded_and_expire(bench, replica, hand_clock):
    replica.script = answering(OK)
    pool = bench.pool(max_idle_connections=1, keepalive_s=0.01, clock=hand_clock)
    await asyncio.gather(*(bench.call(pool, replica.origin) for _ in range(3)))
    assert pool.num_idle == 1
    hand_clock.now += 1
    await bench.until(lambda: pool.num_connections == 0)
    assert pool.num_idle == 0


async def test_an_idle_connection_that_the_replica_closes_leaves_the_pool(bench, replica):
    replica.script = answering(OK, then_close=True)
    pool = bench.pool()
    await bench.call(pool, replica.origin)
    await bench.until(lambda: pool.num_connections == 0)
    assert (await bench.call(pool, replica.origin)).body == b"ok"


async def test_a_closed_pool_fails_what_is_under_way_and_what_comes_later(bench, replica):
    replica.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
    pool = bench.pool()
    under_way, connecting = bench.sink(), bench.sink()
    pool.open(replica.origin, CALL, under_way)
    await under_way.got_body.wait()
    pool.open(replica.origin, CALL, connecting)
    pool.close()
    await asyncio.wait_for(under_way.done.wait(), 20)
    assert under_way.fault.reason is Reason.STREAM_BROKEN
    assert connecting.fault.reason is Reason.CONNECT_FAILED
    late = await bench.call(pool, replica.origin)
    assert late.fault.reason is Reason.CONNECT_FAILED


async def test_a_header_that_holds_a_line_break_is_refused_before_a_connection_is_taken(bench, replica):
    pool = bench.pool()
    with pytest.raises(ValueError, match="line break"):
        pool.open(replica.origin, Outgoing("GET", "/", ((b"A", b"b\nC: d"),), {}, b""), bench.sink())
    assert pool.num_connections == 0


async def test_ipv6_hosts_are_bracketed():
    head = encode_request(Origin("::1", 80), Outgoing("GET", "/", (), {}, b""))
    assert head == b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"
