"""The wire in memory: any split of valid bytes means the same, and nothing ambiguous gets through.

`TURNWISE_FUZZ_CASES` sets the number of cases over all tests of this file. It is above the size budget because the generators,
the mutations and the connection in memory serve every test here.
"""

import asyncio
import itertools
import json
import os
import pathlib
import re

import h11
import httptools
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from turnwise.errors import ClientFault
from turnwise.proxy.wire import framing
from turnwise.proxy.wire.answer_parser import AnswerParser
from turnwise.proxy.wire.connection import Connection
from turnwise.proxy.wire.headers import REQUEST_ONLY, encode, encode_forwarded, end_to_end
from turnwise.proxy.wire.hub import Hub
from turnwise.proxy.wire.ports import Origin, Outgoing, ResponseHead
from turnwise.proxy.wire.responses import BrokenAnswer, End, ResponseReader
from turnwise.proxy.wire.upstream_connection import encode_request
from turnwise.settings import Server

NUM_CASES = int(os.environ.get("TURNWISE_FUZZ_CASES", "300"))
CORPUS = json.loads((pathlib.Path(__file__).parents[1] / "data/smuggling/requests.json").read_text())
HANG_S = 30.0
"""No case takes a hundredth of this; a connection that waits for ever fails instead of stalling the run."""
RAW_CORPUS = [entry["raw"].encode("latin-1") for entry in CORPUS]


def cases(share):
    return settings(
        max_examples=max(10, int(NUM_CASES * share)),
        deadline=None,
        derandomize="TURNWISE_FUZZ_CASES" not in os.environ,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


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


def split(data, cuts):
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


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


tokens = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789-_", min_size=1, max_size=12).map(str.encode)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20).map(
    lambda text: text.encode("latin-1").strip()
)
bodies = st.one_of(st.binary(max_size=80), st.sampled_from([b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]))


@st.composite
def requests(draw):
    """The bytes of a valid request and what they mean."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS"]))
    target = b"/" + draw(st.text("abc/?=&%20", max_size=12)).encode()
    fields = [(b"X-" + name, value) for name, value in draw(st.lists(st.tuples(tokens, values), max_size=4))]
    fields.insert(draw(st.integers(0, len(fields))), (b"Host", b"h:80"))
    body = draw(bodies)
    if draw(st.booleans()):
        parts = split(body, draw(st.lists(st.integers(0, 99), max_size=3)))
        tail = draw(st.sampled_from([b"\r\n", b"X-Trailer: 1\r\n\r\n"]))
        coded = b"".join(b"%x%b\r\n%b\r\n" % (len(part), draw(st.sampled_from([b"", b";e=1"])), part) for part in parts)
        fields.append((b"Transfer-Encoding", b"chunked"))
        coded += b"0\r\n" + tail
    else:
        fields.append((draw(st.sampled_from([b"Content-Length", b"content-length"])), b"%d" % len(body)))
        coded = body
    lines = b"".join(b"%b:%b%b\r\n" % (name, draw(st.sampled_from([b"", b" ", b"\t "])), value) for name, value in fields)
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, lines, coded), (method.decode(), target.decode(), body)


cut_lists = st.lists(st.integers(0, 2000), max_size=12)


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


INSERTS = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x0b", b":", b",", b";", b"\xff", b"0", b"1", b"chunked", b"\r\n ",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: identity\r\n", b"Host: y\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n", b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/2.0", b"HTTP/1.0",
]  # fmt: skip
KINDS = st.sampled_from(["insert", "delete", "replace", "repeat"])
PLACES, SIZES = st.integers(0, 600), st.integers(1, 8)
mutations = st.lists(st.tuples(KINDS, PLACES, SIZES, st.sampled_from(INSERTS)), min_size=1, max_size=4)


def mutate(data, steps):
    for kind, place, size, insert in steps:
        at = place % (len(data) + 1)
        if kind == "insert":
            data = data[:at] + insert + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + size :]
        elif kind == "replace":
            data = data[:at] + insert + data[at + len(insert) :]
        else:
            data = data[: at + size] + data[at:]
    return data


@cases(0.5)
@given(st.one_of(st.sampled_from(RAW_CORPUS), requests().map(lambda drawn: drawn[0])), mutations, cut_lists)
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


@st.composite
def answers(draw):
    """The bytes of a valid answer and the body that they mean."""
    early = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"]))
    status = draw(st.sampled_from([200, 404, 503]))
    body = draw(bodies)
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    if framing == "length":
        line, coded = b"Content-Length: %d\r\n" % len(body), body
    elif framing == "chunked":
        parts = split(body, draw(st.lists(st.integers(0, 99), max_size=3)))
        line = b"Transfer-Encoding: chunked\r\n"
        coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        line, coded = b"", body
    extra = b"".join(b"X-%b: %b\r\n" % field for field in draw(st.lists(st.tuples(tokens, values), max_size=3)))
    return early + b"HTTP/1.1 %d Some Phrase\r\n%b%b\r\n" % (status, extra, line) + coded, status, body, framing


def read_answer(pieces, reader=None):
    reader = reader or ResponseReader()
    reader.begin(is_head_request=False)
    heads, body, end = [], b"", None
    for piece in pieces:
        head, data, end = reader.feed(piece)
        heads += [head] if head is not None else []
        body += data
        if end is not None:
            break  # what comes then is nobody's, and ends the connection
    return heads, body, end, reader.is_until_close if isinstance(reader, AnswerParser) else reader.feed_eof()


def outcome(read, *args):
    """What reading came to, a refusal included."""
    try:
        return read(*args)
    except (BrokenAnswer, ClientFault) as error:
        return type(error)


@cases(0.1)
@given(answers(), cut_lists)
def test_any_split_of_an_answer_reads_the_same(drawn, cuts):
    raw, status, body, framing = drawn
    whole = read_answer([raw])
    assert read_answer(split(raw, cuts)) == whole
    heads, got, end, ends_with_connection = whole
    assert [head.status for head in heads] == [status]
    assert got == body
    assert (end is None) == ends_with_connection == (framing == "close")
    assert heads[0].phrase == b"Some Phrase"


@cases(0.05)
@given(answers(), mutations, cut_lists)
def test_a_malformed_answer_is_read_or_broken_and_nothing_else(drawn, steps, cuts):
    try:
        heads, _, end, ends_with_connection = read_answer(split(mutate(drawn[0], steps), cuts))
    except BrokenAnswer:
        return
    assert len(heads) <= 1
    assert not (end is not None and ends_with_connection)


@cases(0.2)
@given(answers(), st.one_of(st.just([]), mutations), cut_lists)
def test_an_answer_means_what_llhttp_alone_reads_in_it(drawn, steps, cuts):
    pieces = split(mutate(drawn[0], steps), cuts)
    ours, theirs = outcome(read_answer, pieces), outcome(read_answer, pieces, AnswerParser())
    if ours != theirs:  # llhttp overlooks line breaks after an answer; here any byte that follows spends the connection
        heads, body, end, ends_with_connection = theirs
        assert ours == (heads, body, End.SPENT, ends_with_connection)
        assert end is End.REUSABLE


ODD_CHUNKS = [
    b"3\r\nab",  # and what completes it
    b"c\r\n",
    b"3",
    b"\r\nabc\r\n",
    b"\r\n",
    b"1\r\n5\r\n5\r\n",
    b"5\r\n5\r\n\r\n\r\n",
    b"3;name=value\r\nabc\r\n",
    b"003\r\nabc\r\n",
    b"B\r\nabc\r\n defgh\r\n",
    b"1\r\na\r\n2\r\nbc\r\n",
    b"3\r\nabcd\r\n",
    b"4\r\nabc\r\n",
    b"3\r\nabcXY",
    b"3\r\nabc\n\n",
    b"3\nabc\r\n",
    b"+3\r\nabc\r\n",
    b"0x3\r\nabc\r\n",
    b" 3\r\nabc\r\n",
    b"3 \r\nabc\r\n",
    b"-3\r\nabc\r\n",
    b"1_1\r\nabcdefghijk\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"0\r\n",
    b"0\r\nX-Trailer: 1\r\n\r\n",
    b"fffffffffffffffff\r\nabc\r\n",
]
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
whole_chunks = st.binary(min_size=1, max_size=40).map(lambda body: b"%x\r\n%b\r\n" % (len(body), body))


@cases(0.2)
@given(st.lists(st.one_of(whole_chunks, whole_chunks, st.sampled_from(ODD_CHUNKS)), min_size=1, max_size=6))
@example([b"1\r\na\r\n", b"1\r\n5\r\n5\r\n", b"5\r\n5\r\n\r\n\r\n"])
def test_reads_of_whole_chunks_mean_what_llhttp_alone_reads_in_them(reads):
    pieces = [CHUNKED_HEAD, *reads]
    assert outcome(read_answer, pieces) == outcome(read_answer, pieces, AnswerParser())


@pytest.mark.parametrize("odd", ODD_CHUNKS)
def test_a_read_that_is_not_one_whole_chunk_means_what_llhttp_alone_reads_in_it(odd):
    pieces = [CHUNKED_HEAD + b"1\r\na\r\n", b"2\r\nbc\r\n", odd, b"1\r\nd\r\n"]
    assert outcome(read_answer, pieces) == outcome(read_answer, pieces, AnswerParser())


def fields_by_llhttp(raw):
    class Fields(list):
        def on_header(self, name, value):
            self.append((name, value))

    fields = Fields()
    httptools.HttpRequestParser(fields).feed_data(raw)
    return tuple(fields)


@cases(0.2)
@given(st.one_of(st.sampled_from(RAW_CORPUS), requests().map(lambda drawn: drawn[0])), st.one_of(st.just([]), mutations))
def test_a_head_means_the_same_whether_or_not_its_lines_are_remembered_and_as_llhttp_reads_it(raw, steps):
    head = mutate(raw, steps).partition(b"\r\n\r\n")[0]
    remembered = outcome(framing.read_head, head), outcome(framing.read_head, head)
    for memo in (framing._HEADS, framing._FIRST_LINES, framing._FIELDS):
        memo.clear()
    fresh = outcome(framing.read_head, head)
    assert remembered == (fresh, fresh)
    if fresh is not ClientFault:
        by_llhttp = fields_by_llhttp(head + b"\r\n\r\n")
        assert fresh.headers == tuple(pair for pair in by_llhttp if pair[0].lower() != b"content-length")
        assert fresh.fields == {name.lower(): value for name, value in reversed(fresh.headers)}


names = st.sampled_from([b"X-A", b"x-b", b"X-C", b"Host", b"Connection", b"TE", b"Proxy-A", b"Expect", b"Content-Length"])
pairs = st.tuples(names, st.sampled_from([b"1", b"close", b"x-b, close", b"keep-alive", b"bad\r\nline"]))
edit_names = st.sampled_from([b"x-a", b"x-b", b"x-new", b"te", b"connection", b"host"])
edit_maps = st.dictionaries(edit_names, st.sampled_from([b"2", b"close", b"x-a", b"bad\nline"]), max_size=3)


def refused_or(encoded, *args):
    try:
        return encoded(*args)
    except ValueError:
        return ValueError


@cases(0.1)
@given(st.lists(pairs, max_size=6).map(tuple), edit_maps, st.lists(edit_names, max_size=2).map(tuple))
def test_forwarded_lines_are_those_of_the_edited_fields_that_go_end_to_end(headers, edits, drops):
    outgoing = Outgoing("GET", "/", headers, edits, b"", drops=drops)
    meant = refused_or(lambda: encode(end_to_end(outgoing.fields(), also=REQUEST_ONLY)))
    given_lines = refused_or(encode_forwarded, headers, edits, drops)
    # A line break is refused wherever it stands; the fields that end here are not encoded to find one.
    assert given_lines in (meant, ValueError)
    if not any(b"\n" in value for _, value in (*headers, *edits.items())):
        assert given_lines == meant
