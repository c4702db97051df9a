from random import Random

import pytest

from turnwise.tools_gateway.upstreams.lines import Allowance, Lines, LineTooLongError
from turnwise.tools_gateway.upstreams.sse import Events


def feed_all(reader, chunks):
    for chunk in chunks:
        reader.feed(chunk)


def pieces(data, rng):
    while data:
        size = rng.randint(1, 7)
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("seed", range(20))
def test_lines_are_the_same_however_they_come(seed):
    rng = Random(seed)
    lines, found = Lines(100), []
    for piece in pieces(b"one\n\ntwo\nthree four five\nrest", rng):
        found += lines.feed(piece)
    assert found == [b"one", b"", b"two", b"three four five"]
    assert lines.feed(b"\n") == [b"rest"]


def test_a_line_past_the_bound_is_refused_by_how_it_begins_and_never_kept_whole():
    lines = Lines(1000)
    with pytest.raises(LineTooLongError) as caught:
        feed_all(lines, [b'{"id": 1, '] * 1000)
    assert caught.value.head.startswith(b'{"id": 1, ')
    assert len(caught.value.head) == 256
    assert len(lines._open) <= 1010


@pytest.mark.parametrize("seed", range(20))
def test_events_are_the_same_however_they_come(seed):
    stream = b': hello\r\nid: 1\r\ndata:\r\n\r\nevent: message\ndata: {"a":\ndata: 1}\n\n\n\ndata:two\n\ndata: open'
    events, found = Events(100), []
    for piece in pieces(stream, Random(seed)):
        found += events.feed(piece)
    assert found == [b'{"a":\n1}', b"two"]


@pytest.mark.parametrize("chunk", [b"data: " + b"x" * 60, b"data: " + b"x" * 30 + b"\n", b"x" * 30])
def test_an_event_past_the_bound_is_refused(chunk):
    events = Events(100)
    with pytest.raises(ValueError, match="too large"):
        feed_all(events, [chunk] * 10)


def test_what_is_no_answer_is_taken_up_to_so_much_a_second():
    allowance = Allowance(100)
    assert allowance.take(100, 10.0) == 0.0
    assert allowance.take(25, 10.0) == 0.25
    assert allowance.take(0, 10.25) == 0.0
    assert allowance.take(100, 11.25) == 0.0


def test_a_flood_is_not_held_against_an_upstream_for_ever():
    allowance = Allowance(100)
    assert allowance.take(10**9, 10.0) < 10.0
    assert allowance.take(0, 20.0) == 0.0


def test_what_a_stream_says_besides_its_events_is_weighed():
    events = Events(100)
    events.feed(b": still there\n\n" * 10)
    assert events.wasted > 10 * len(b": still there")
    before = events.wasted
    events.feed(b"data: {}\n")
    assert events.wasted == before
