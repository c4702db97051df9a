"""Answers to the wire in memory: any split of valid bytes means the same, and llhttp alone reads the same in any bytes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.property.wire_drawn import bodies, cases, cut_lists, mutate, mutations, outcome, split, tokens, values

from turnwise.proxy.wire.answer_parser import AnswerParser
from turnwise.proxy.wire.responses import BrokenAnswer, End, ResponseReader


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
