"""What is known of one head is known of all that differ from it in the digits of their Content-Length alone."""

import pytest

from turnwise.errors import ClientFault
from turnwise.proxy.wire.framing import read_head
from turnwise.proxy.wire.lengths import with_length, without_length

HEAD = b"POST /v1/x HTTP/1.1\r\nHost: h\r\n%b\r\nX-Own: 1"


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_heads_of_different_lengths_leave_the_same_without_them(name):
    one, other = (without_length(HEAD % (b"%b: %d" % (name, length))) for length in (7, 1234))
    assert one[:2] == other[:2]
    assert (one[2], other[2]) == (7, 1234)
    assert with_length(one[:2]) == HEAD % (b"%b: 0" % name)


def test_a_length_in_the_last_line_leaves_nothing_behind_it():
    assert without_length(b"GET / HTTP/1.1\r\nContent-Length: 5") == (b"GET / HTTP/1.1\r\nContent-L", b"", 5)


@pytest.mark.parametrize(
    "line",
    [
        b"X-Strength: 5",
        b"X-Content-Length: 5",
        b"X-Length: 1\r\nContent-Length: 5",
        b"Content-Length:5",
        b"Content-Length: 5 ",
        b"Content-Length: +5",
        b"Content-Length: ",
        b"Content-Length: \xb2",
        b"Content-Length: " + b"1" * 19,
    ],
)
def test_a_head_whose_length_is_missing_or_spelled_otherwise_is_read_by_itself(line):
    assert without_length(HEAD % line) is None


def test_requests_that_differ_in_length_alone_are_the_same_but_for_it():
    one, other = (read_head(HEAD % (b"Content-Length: %d" % length)) for length in (7, 1234))
    assert (one.length, other.length) == (7, 1234)
    assert one.headers == other.headers == ((b"Host", b"h"), (b"X-Own", b"1"))
    assert one.fields == other.fields == {b"host": b"h", b"x-own": b"1"}


def test_a_second_length_is_refused_however_often_the_head_comes():
    head = HEAD % b"Content-Length: 7\r\nContent-Length: 7"
    for _ in range(2):
        with pytest.raises(ClientFault, match="more than once"):
            read_head(head)
