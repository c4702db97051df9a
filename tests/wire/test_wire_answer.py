"""What leaves in one piece: each write of an answer is a segment of its own on a socket without delay."""

import pytest

from turnwise.proxy.wire.answer import Answer
from turnwise.proxy.wire.framing import read_head
from turnwise.proxy.wire.outbox import Outbox, Outlet
from turnwise.proxy.wire.ports import Origin, Outgoing, ResponseHead
from turnwise.proxy.wire.upstream_connection import UpstreamConnection

DATE = (b"Date", b"now")


class Written:
    """Loop, transport and connection at once: keeps each write; a turn ends when it is told to."""

    def __init__(self):
        self.hub = self
        self.is_draining = False
        self.pieces = []
        self.ended = []
        self.at_the_end = []
        self.is_closed = False

    def call_soon(self, callback):
        self.at_the_end.append(callback)

    def call_later(self, delay, callback):
        pass

    def get_extra_info(self, name):
        return None

    def end_turn(self):
        callbacks, self.at_the_end = self.at_the_end, []
        for callback in callbacks:
            callback()

    def is_closing(self):
        return self.is_closed

    def get_write_buffer_size(self):
        return 0

    def close(self):
        self.is_closed = True

    def write_eof(self):
        self.pieces.append("eof")

    def write(self, data):
        self.pieces.append(data)

    def writelines(self, parts):
        self.pieces.append(b"".join(parts))

    def cut(self):
        self.ended.append("aborted")

    def on_answered(self, *, keeps_alive):
        self.ended.append(keeps_alive)


@pytest.fixture
def written():
    return Written()


@pytest.fixture
def answer(written):
    return Answer(Outlet(Outbox(written), written), read_head(b"GET / HTTP/1.1\r\nHost: h"), written, is_paused=False)


@pytest.mark.parametrize("body", [b"abc", b"x" * 100_000], ids=["small", "large"])
def test_an_answer_that_comes_whole_leaves_in_one_write(answer, written, body):
    answer.start(ResponseHead(200, b"OK", (DATE,), len(body)))
    answer.finish(body)
    written.end_turn()
    assert written.pieces == [b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)]
    assert written.ended == [True]


@pytest.mark.parametrize("body", [b"abc", b"x" * 100_000], ids=["small", "large"])
def test_the_last_chunk_leaves_with_the_end_of_the_chunks(answer, written, body):
    answer.start(ResponseHead(200, b"OK", (DATE,), None))
    answer.write(b"a")
    written.end_turn()
    answer.finish(body)
    written.end_turn()
    assert written.pieces == [
        b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    ]
    assert written.ended == [True]


def test_a_stream_begins_at_once_and_goes_on_with_the_other_writes_of_a_turn(answer, written):
    answer.start(ResponseHead(200, b"OK", (DATE,), None))
    answer.write(b"a")
    answer.write(b"b")
    assert written.pieces == [b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"]
    written.end_turn()
    assert written.pieces[1:] == [b"1\r\nb\r\n"]


@pytest.mark.parametrize("is_urgent", [True, False])
def test_a_request_whose_first_token_somebody_waits_for_leaves_at_once(written, is_urgent):
    connection = UpstreamConnection(
        Origin("h", 1),
        loop=written,
        outbox=Outbox(written),
        clock=lambda: 0.0,
        idle_timeout_s=1.0,
        keepalive_s=1.0,
        release=lambda _: True,
        forget=lambda _: None,
    )
    connection.connection_made(written)
    connection.send(b"head", Outgoing("POST", "/", (), {}, b" body", is_urgent), None, 0.0)
    assert bool(written.pieces) is is_urgent
    written.end_turn()
    assert written.pieces == [b"head body"]


@pytest.mark.parametrize(("last", "ended"), [(b"bc", True), (b"bcd", False), (b"b", "aborted"), (b"", "aborted")])
def test_a_last_part_that_does_not_fit_the_length_is_cut_or_cuts_the_connection(answer, written, last, ended):
    answer.start(ResponseHead(200, b"OK", (DATE,), 3))
    answer.write(b"a")
    written.end_turn()
    answer.finish(last)
    written.end_turn()
    assert written.ended == [ended]
    assert written.pieces[1:] == ([] if ended == "aborted" else [b"bc"])


def test_what_is_written_in_one_turn_leaves_in_one_piece_and_in_order(written):
    outlet = Outlet(Outbox(written), written)
    outlet.write(b"a")
    outlet.write(b"b")
    assert (written.pieces, outlet.size) == ([], 2)
    written.end_turn()
    assert (written.pieces, outlet.size) == ([b"ab"], 0)


def test_connections_leave_one_after_another_in_the_turn_in_which_they_were_written(written):
    outbox = Outbox(written)
    first, second = Outlet(outbox, written), Outlet(outbox, written)
    first.write(b"1")
    second.write(b"2")
    first.write(b"3")
    assert len(written.at_the_end) == 1
    written.end_turn()
    assert written.pieces == [b"13", b"2"]
    second.write(b"4")
    written.end_turn()
    assert written.pieces == [b"13", b"2", b"4"]


@pytest.mark.parametrize("ending", ["close", "end"])
def test_what_was_written_before_the_end_is_sent_before_it(written, ending):
    outlet = Outlet(Outbox(written), written)
    outlet.write(b"last words")
    getattr(outlet, ending)()
    written.end_turn()
    assert written.pieces == [b"last words"] + ["eof"] * (ending == "end")


def test_a_connection_that_was_cut_gets_nothing_more(written):
    outlet = Outlet(Outbox(written), written)
    outlet.write(b"too late")
    written.is_closed = True
    written.end_turn()
    assert written.pieces == []


@pytest.mark.parametrize("ending", ["abort", "gone", "finish"])
def test_a_chunk_after_the_end_of_a_flowing_answer_is_dropped(written, answer, ending):
    answer.start(ResponseHead(200, b"OK", (DATE,), None))
    answer.write(b"first")
    answer.write(b"second")
    written.end_turn()
    getattr(answer, ending)()
    written.end_turn()
    before = list(written.pieces)
    answer.write(b"too late")
    written.end_turn()
    assert written.pieces == before
