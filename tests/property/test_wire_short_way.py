"""Streams of which most reads leave as they came: client and tap get what they would get if every read went the long way."""

import asyncio
import itertools
from types import SimpleNamespace

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.dialects import DIALECTS
from turnwise.dialects.tap import MAX_UNREAD
from turnwise.dialects.usage_filter import UsageFilter
from turnwise.proxy.wire.answer import Answer
from turnwise.proxy.wire.framing import read_head
from turnwise.proxy.wire.outbox import Outbox, Outlet
from turnwise.proxy.wire.ports import Origin, Outgoing
from turnwise.proxy.wire.relay import Relay
from turnwise.proxy.wire.upstream_connection import UpstreamConnection
from turnwise.types import DialectName

CHAT = DIALECTS[DialectName.CHAT]
ORIGIN = Origin("replica", 80)
CALL = Outgoing("POST", "/v1/chat/completions", (), {}, b"{}", is_urgent=True)
ASKED = read_head(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 0")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BEGINNING = b'data: {"id":"a","choices":[{"index":0,"delta":{"role":"assistant","content":"so"}}]}\n\n'
END = b'data: {"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"a","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
IDLE_TIMEOUT_S = 60.0


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = b""

    def write(self, data):
        self.written += data

    def is_closing(self):
        return False

    def get_write_buffer_size(self):
        return 0

    def abort(self):
        pass

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class Line:
    """The client's connection as an answer sees it."""

    hub = SimpleNamespace(is_draining=False)

    def on_answered(self, *, keeps_alive):
        assert keeps_alive


class Replica:
    """An upstream of one connection, which is given reads by hand; it is its own exchange and listener."""

    def __init__(self, clock):
        loop = asyncio.get_running_loop()
        self.clock = clock
        self.connection = UpstreamConnection(
            ORIGIN,
            loop=loop,
            outbox=Outbox(loop),
            clock=clock,
            idle_timeout_s=IDLE_TIMEOUT_S,
            keepalive_s=IDLE_TIMEOUT_S,
            release=lambda _: True,
            forget=lambda _: None,
        )
        self.connection.connection_made(Transport())

    def open(self, _, outgoing, sink):
        self.sink = sink
        self.connection.send(b"", outgoing, self, self.clock())
        return self

    def on_end(self, data):
        self.sink.on_end(data)

    def abort(self):
        self.connection.abort()

    def pause(self):
        self.connection.pause()

    def resume(self):
        self.connection.resume()


def chunk(data, size=b"%x"):
    return size % len(data) + b"\r\n" + data + b"\r\n"


def delta(text):
    return b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text


texts = st.sampled_from([b"", b" word", b"\\n", b'\\"usage\\":{', b"x" * 900, b"x" * 1100])
plain = st.builds(lambda text: chunk(delta(text)), texts)
odd = st.sampled_from(
    [
        chunk(delta(b"one") + delta(b"two")),
        chunk(delta(b"big"), b"%X"),
        chunk(delta(b"zero"), b"00%x"),
        chunk(delta(b"crlf").replace(b"\n", b"\r\n")),
        chunk(b": keep-alive\n\n"),
        chunk(b"data: {"),
        chunk(b"\n\n"),
        chunk(USAGE),
        chunk(USAGE[:30]),
        chunk(USAGE.replace(b"[]", b'[{"index":0,"delta":{"content":"used"}}]')),
        chunk(b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}\n\n'),
    ]
)


CUT = b"|"
"""Stands where a chunk is cut for certain."""
WITHIN = chunk(delta(b"within"))
odd |= st.just(b"%x\r\n: a chunk stands in a chunk\n\n|%b|\r\n" % (29 + len(WITHIN), WITHIN))


def reads_of(chunks, cuts):
    """One read for each chunk, but for some that are cut, or come with the one behind them."""
    reads = [HEAD + chunks[0], *(part for one in chunks[1:] for part in one.split(CUT))]
    for where, at in cuts:
        index = where % len(reads)
        if at is None:
            reads[index : index + 2] = [b"".join(reads[index : index + 2])]
        else:
            read = reads[index]
            reads[index : index + 1] = [part for part in (read[: at % len(read)], read[at % len(read) :]) if part]
    return reads


async def relayed(reads, pauses_at):
    """What the client got, what became of it, and what a tap saw."""
    loop = asyncio.get_running_loop()
    ticks = itertools.count(1.0).__next__
    replica, transport, tap = Replica(ticks), Transport(), CHAT.tap(wants_answer=True)
    outlet = Outlet(Outbox(loop), transport)
    relay = Relay(
        Answer(outlet, ASKED, Line(), is_paused=False),
        answer_headers=lambda head: head,
        tap=tap,
        stream_filter=CHAT.usage_filter(),
        error_event=CHAT.error_event,
        clock=ticks,
        loop=loop,
    )
    relay.begin(replica, ORIGIN, CALL)
    for number, read in enumerate(reads):
        if number == pauses_at:
            replica.pause()
            replica.resume()
        replica.connection.data_received(read)
    await relay.done
    relay.end()
    outlet.flush()
    replica.connection.connection_lost(None)
    return transport.written, relay, tap


def read_by_h11(answer):
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "here")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(answer)
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert event is not h11.NEED_DATA
        body += event.data if isinstance(event, h11.Data) else b""
    return body


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(plain, plain, plain, odd), max_size=MAX_UNREAD + 9),
    st.lists(st.tuples(st.integers(0, 10**6), st.none() | st.integers(0, 10**6)), max_size=6),
    st.integers(0, 20),
)
def test_client_and_tap_get_the_same_however_a_stream_is_chunked_and_read(between, cuts, pauses_at):
    chunks = [chunk(BEGINNING), *between, chunk(END), chunk(USAGE), chunk(DONE) + b"0\r\n\r\n"]
    reads = reads_of(chunks, cuts)
    body = read_by_h11(HEAD + b"".join(chunks).replace(CUT, b""))
    written, result, tap = asyncio.run(relayed(reads, pauses_at))

    whole = UsageFilter()
    assert read_by_h11(written) == whole.feed(body) + whole.close()
    assert (result.is_complete, result.body_bytes) == (True, len(body))

    alone = CHAT.tap(wants_answer=True)
    alone.on_head(200, is_stream=True)
    alone.feed(body, 0.0)
    alone.close(0.0)
    told = (tap.usage, tap.finish_reason, tap.response_id, tap.answer, tap.tool_calls, tap.first_tool_at is None)
    assert told == (
        alone.usage,
        alone.finish_reason,
        alone.response_id,
        alone.answer,
        alone.tool_calls,
        alone.first_tool_at is None,
    )
    times = (result.head_at, result.first_byte_at, tap.first_token_at, tap.first_visible_at, result.last_byte_at)
    assert list(times) == sorted(times)


def test_reads_that_leave_as_they_came_put_the_idle_timeout_off():
    async def scenario():
        replica = Replica(itertools.count(1.0).__next__)
        seen = []

        class Sink:
            def on_head(self, head):
                seen.append(head.status)

            def on_body(self, data):
                return lambda read, now: not seen.append((read, now))

        replica.open(ORIGIN, CALL, Sink())
        replica.connection.data_received(HEAD + chunk(BEGINNING))
        for _ in range(3):
            replica.connection.data_received(chunk(DONE))
        assert [read for read, _ in seen[1:]] == [chunk(DONE)] * 3
        assert replica.connection._deadline.at == seen[-1][1] + IDLE_TIMEOUT_S
        replica.abort()
        replica.connection.connection_lost(None)

    asyncio.run(scenario())
