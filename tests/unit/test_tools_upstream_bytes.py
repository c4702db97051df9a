from random import Random

import pytest

from turnwise.tools_gateway.upstreams.allowance import EACH, Allowance
from turnwise.tools_gateway.upstreams.lines import MAX_SKIPPED_BYTES, Cut, Lines, LineTooLongError
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
    found = [line for _ in range(1000) for line in lines.feed(b'{"id": 1, ')]
    (cut,) = found
    assert cut.head.startswith(b'{"id": 1, ')
    assert len(cut.head) == 256
    assert len(lines._open) <= 1010


@pytest.mark.parametrize("seed", range(20))
def test_what_stands_behind_a_line_past_the_bound_is_read_as_ever(seed):
    lines, found = Lines(1000), []
    for piece in pieces(b"one\n" + b"x" * 1500 + b"\n\ntwo\n" + b"y" * 1500 + b"\nthree\n", Random(seed)):
        found += lines.feed(piece)
    assert found == [b"one", Cut(b"x" * 256), b"", b"two", Cut(b"y" * 256), b"three"]
    assert lines.feed(b"z" * 2000 + b"") == [Cut(b"z" * 256)]
    assert lines.feed(b"z\nfour\n") == [b"four"]


def test_a_line_that_does_not_end_is_not_read_past_for_ever():
    lines = Lines(1000)
    piece = bytes(MAX_SKIPPED_BYTES // 8)
    with pytest.raises(LineTooLongError):
        feed_all(lines, [piece] * 9)


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


@pytest.mark.parametrize("line", [b"\n", b"data:\n", b"data: \r\n"])
def test_lines_that_say_nothing_are_weighed(line):
    events = Events(100)
    assert events.feed(b"data: {}\n\n") == [b"{}"]
    assert events.wasted == 0
    assert events.feed(line * 10) == []
    assert events.wasted == 10 * EACH
