"""Requests to the wire in memory: any split of valid bytes means the same, and nothing ambiguous gets through."""

import asyncio
import re

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.property.wire_drawn import CORPUS, cases, cut_lists, mutate, mutations, raw_requests, requests, split

from turnwise.proxy.wire.connection import Connection
from turnwise.proxy.wire.hub import Hub
from turnwise.proxy.wire.ports import Origin, Outgoing, ResponseHead
from turnwise.proxy.wire.upstream_connection import encode_request
from turnwise.settings import Server

HANG_S = 30.0
"""No case takes a hundredth of this; a connection that waits for ever fails instead of stalling the run."""


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; closing it is told on the next turn, as a socket does."""

    def __init__(self, protocol):
        super().__init__()
        self.protocol = protocol
        self.written = bytearray()
        self.closed = False

    def write(self, data):
        if not self.closed:
            self.written += data

    def writelines(self, parts):
        self.write(b"".join(parts))

    def write_eof(self):
        pass

    def can_write_eof(self):
        return True

    def get_write_buffer_size(self):
        return 0

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def is_closing(self):
        return self.closed

    def close(self):
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


class Seen:
    """What one client connection came to."""

    def __init__(self):
        self.requests = []
        self.forwarded = []
        self.written = b""
        self.is_closed = False

    @property
    def statuses(self):
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (?!100)([0-9]{3}) ", self.written)]


def run(pieces):
    """Feed pieces to a connection as a socket would, then end it."""
    seen = Seen()

    async def handler(raw, client):
        seen.requests.append((raw.method, raw.target, raw.body))
        outgoing = Outgoing(raw.method, raw.target, raw.headers, {}, raw.body)
        seen.forwarded.append(encode_request(Origin("replica", 80), outgoing) + raw.body)
        await asyncio.sleep(0)
        client.start(ResponseHead(200, b"OK", ((b"Date", b"now"),), len(raw.body)))
        client.write(raw.body.replace(b"HTTP", b"http"))
        client.finish()

    async def scenario():
        async with asyncio.timeout(HANG_S):
            await converse()

    async def converse():
        loop = asyncio.get_running_loop()
        hub = Hub(handler, Server(), clock=loop.time, render_error=lambda fault, _: fault.message.encode(), new_id=lambda: "i")
        connection = Connection(hub, loop)
        transport = MemoryTransport(connection)
        connection.connection_made(transport)
        for piece in pieces:
            if transport.closed:
                break
            connection.data_received(piece)
        while hub.tasks:
            await asyncio.wait(tuple(hub.tasks))
        if not transport.closed and not connection.eof_received():
            transport.close()
        await asyncio.sleep(0)
        seen.written = bytes(transport.written)
        seen.is_closed = transport.closed
        assert not hub.connections

    asyncio.run(scenario())
    return seen


def read_by_h11(data):
    """Another implementation's reading of the requests in `data`, as far as it goes."""
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=10**6)
    peer.receive_data(data)
    peer.receive_data(b"")
    requests = []
    while True:
        try:
            event = peer.next_event()
        except h11.RemoteProtocolError:
            return requests
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            requests.append((head.method.decode(), head.target.decode(), bytes(body)))
            peer.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
            peer.send(h11.EndOfMessage())
            if peer.our_state is not h11.DONE or peer.their_state is not h11.DONE:
                return requests
            peer.start_next_cycle()
        else:
            return requests


def check_unambiguous(data, seen):
    """All that was accepted reads the same elsewhere, and reached the replica as exactly one request each."""
    assert not set(seen.statuses) & {500, 502, 503}
    for request, forwarded in zip(seen.requests, seen.forwarded, strict=True):
        assert read_by_h11(forwarded) == [request]
    assert read_by_h11(data)[: len(seen.requests)] == seen.requests


@cases(0.3)
@given(st.lists(requests(), min_size=1, max_size=4), cut_lists)
def test_any_split_of_pipelined_requests_gives_the_same_requests_and_answers(drawn, cuts):
    data = b"".join(raw for raw, _ in drawn)
    meant = [request for _, request in drawn]
    whole = run([data])
    assert whole.requests == meant
    assert whole.statuses == [200] * len(meant)
    assert run(split(data, cuts)).written == whole.written
    check_unambiguous(data, whole)


@cases(0.02)
@given(requests())
def test_a_request_may_come_byte_by_byte(drawn):
    data, meant = drawn
    assert run(split(data, range(len(data)))).requests == [meant]


@cases(0.5)
@given(raw_requests, mutations, cut_lists)
def test_malformed_requests_never_hang_never_give_a_500_and_pass_nothing_ambiguous(raw, steps, cuts):
    data = mutate(raw, steps)
    seen = run(split(data, cuts))
    check_unambiguous(data, seen)
    assert seen.is_closed
    assert len(seen.statuses) in {len(seen.requests), len(seen.requests) + 1}


@cases(0.03)
@given(st.binary(max_size=300), cut_lists)
@example(b"\r", [])
@example(b"\r\n\r\n", [])
def test_arbitrary_bytes_never_reach_a_handler_unless_they_are_a_request(data, cuts):
    seen = run(split(data, cuts))
    check_unambiguous(data, seen)
    assert seen.is_closed


@pytest.mark.parametrize("entry", CORPUS, ids=[entry["name"] for entry in CORPUS])
@pytest.mark.parametrize("size", [None, 1], ids=["whole", "bytewise"])
def test_the_smuggling_corpus_is_refused_or_read_in_its_one_meaning(entry, size):
    data = entry["raw"].encode("latin-1")
    seen = run([data] if size is None else split(data, range(len(data))))
    check_unambiguous(data, seen)
    accepted = [(method, target, body.encode("latin-1")) for method, target, body in entry.get("accepted", [])]
    refused = [entry["status"]] if "status" in entry else []
    assert (seen.requests, seen.statuses) == (accepted, [200] * len(accepted) + refused)
