"""Heads on the wire: remembered ones are read as llhttp reads them, and what is written on is what was edited."""

import httptools
from hypothesis import given
from hypothesis import strategies as st
from tests.property.wire_drawn import cases, mutate, mutations, outcome, raw_requests

from turnwise.errors import ClientFault
from turnwise.proxy.wire import framing
from turnwise.proxy.wire.headers import REQUEST_ONLY, encode, encode_forwarded, end_to_end
from turnwise.proxy.wire.ports import Outgoing


def fields_by_llhttp(raw):
    class Fields(list):
        def on_header(self, name, value):
            self.append((name, value))

    fields = Fields()
    httptools.HttpRequestParser(fields).feed_data(raw)
    return tuple(fields)


@cases(0.2)
@given(raw_requests, st.one_of(st.just([]), mutations))
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
