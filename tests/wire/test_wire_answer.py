"""What leaves in one piece: each write of an answer is a segment of its own on a socket without delay."""

import pytest

from turnwise.proxy.wire.answer import Answer
from turnwise.proxy.wire.framing import read_head
from turnwise.proxy.wire.ports import ResponseHead

DATE = (b"Date", b"now")


class Written:
    """Transport and connection at once: keeps each write."""

    def __init__(self):
        self.hub = self
        self.is_draining = False
        self.pieces = []
        self.ended = []

    def write(self, data):
        self.pieces.append(data)

    def writelines(self, parts):
        self.pieces.append(b"".join(parts))

    def abort(self):
        self.ended.append("aborted")

    def on_answered(self, *, keeps_alive):
        self.ended.append(keeps_alive)


@pytest.fixture
def written():
    return Written()


@pytest.fixture
def answer(written):
    return Answer(written, read_head(b"GET / HTTP/1.1\r\nHost: h"), written, is_paused=False)


@pytest.mark.parametrize("body", [b"abc", b"x" * 100_000], ids=["small", "large"])
def test_an_answer_that_comes_whole_leaves_in_one_write(answer, written, body):
    answer.start(ResponseHead(200, b"OK", (DATE,), len(body)))
    answer.finish(body)
    assert written.pieces == [b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)]
    assert written.ended == [True]


@pytest.mark.parametrize("body", [b"abc", b"x" * 100_000], ids=["small", "large"])
def test_the_last_chunk_leaves_with_the_end_of_the_chunks(answer, written, body):
    answer.start(ResponseHead(200, b"OK", (DATE,), None))
    answer.write(b"a")
    answer.finish(body)
    assert written.pieces == [
        b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    ]
    assert written.ended == [True]


@pytest.mark.parametrize(("last", "ended"), [(b"bc", True), (b"bcd", False), (b"b", "aborted"), (b"", "aborted")])
def test_a_last_part_that_does_not_fit_the_length_is_cut_or_cuts_the_connection(answer, written, last, ended):
    answer.start(ResponseHead(200, b"OK", (DATE,), 3))
    answer.write(b"a")
    answer.finish(last)
    assert written.ended == [ended]
    assert written.pieces[1:] == ([] if ended == "aborted" else [b"bc"])
