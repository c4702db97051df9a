"""What `make bench-programs` sends, counts and concludes."""

import json
import os
import time
from itertools import pairwise

import pytest
from bench.programs import rate, short
from bench.programs.live import NUM_TURNS, Clients
from bench.programs.sink import Connection, Taken
from bench.programs.stage import OFF, ON, Sample, thread_ns
from bench.proxy.results import Load
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PLANS = [(1, None), (4, None), (4, {"stream": True, "max_tokens": 4, "seed": 16_000})]


@pytest.mark.parametrize(("num_turns", "arguments"), PLANS)
def test_a_short_conversation_is_json_that_grows_around_a_kilobyte(num_turns, arguments):
    for one in short.conversations(1, 3, num_turns, arguments):
        bodies = list(one.bodies())
        assert sum(map(len, bodies)) // num_turns == 1_000
        turns = [json.loads(body)["messages"] for body in bodies]
        assert all(later[: len(turn)] == turn for turn, later in pairwise(turns))
        assert [turn[-1]["role"] for turn in turns] == ["user", *["tool"] * (num_turns - 1)]
        assert one.text[one.nonce_at : one.nonce_at + 16] == b"0" * 16


def test_equal_seeds_give_equal_conversations_and_no_two_are_alike():
    assert short.conversations(1, 3, 4) == short.conversations(1, 3, 4) != short.conversations(2, 3, 4)
    assert len({one.text for one in short.conversations(1, 50, 4)}) == 50


def test_more_turns_than_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        short.conversations(1, 1, 12)


class Wire:
    def __init__(self):
        self.written = b""

    def write(self, data):
        self.written += data


def post(how, num_spans):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for _ in range(num_spans):
        scope.spans.add(name="chat")
    body = request.SerializeToString()
    taken, wire = Taken(), Wire()
    connection = Connection(how, taken)
    connection.connection_made(wire)
    head = b"POST /v1/traces HTTP/1.1\r\nhost: sink\r\ncontent-length: %d\r\n\r\n" % len(body)
    for part in (head + body[:5], body[5:]):
        connection.data_received(part)
    return taken, wire.written


def test_the_sink_counts_spans_and_takes_them():
    taken, written = post("take", 7)
    assert (taken.num_requests, taken.num_spans) == (1, 7)
    assert written.startswith(b"HTTP/1.1 200 ")


async def test_the_slow_sink_does_not_answer_at_once():
    taken, written = post("slow", 7)
    assert (taken.num_spans, written) == (7, b"")


def test_the_refusing_sink_takes_nothing():
    taken, written = post("refuse", 7)
    assert (taken.num_requests, taken.num_spans) == (1, 0)
    assert written.startswith(b"HTTP/1.1 503 ")


def test_threads_of_a_process_are_told_apart_by_their_numbers():
    before, began = thread_ns(os.getpid()), time.thread_time()
    # The system counts a thread's time at its ticks, a hundredth of a second apart at most.
    while time.thread_time() < began + 0.05:
        sum(range(10_000))
    assert thread_ns(os.getpid())[os.getpid()] > before[os.getpid()]


def sample(p99_us=100.0, beside_ns=0):
    load = Load(10, 0, "", 1.0, 40, 0.1, first_chunk_p99_us=p99_us)
    return Sample(load, path_ns=1_000_000, beside_ns=beside_ns)


def measured(num_spans=60, **samples):
    return rate.Measured(samples, num_spans, dict.fromkeys(samples, 0.0))


def test_a_ratio_is_the_median_of_ratios_within_a_round():
    on = [sample(200.0), sample(300.0), sample(90.0)]
    off = [sample(100.0), sample(300.0), sample(30.0)]
    assert measured(**{ON: on, OFF: off}).slowdown(ON) == 2.0


def test_encoding_is_what_other_threads_use_beyond_what_they_use_without_programs():
    result = measured(**{ON: [sample(beside_ns=600_000)] * 3, OFF: [sample(beside_ns=100_000)] * 3})
    row = rate.encoding_row(result)
    assert (row.measured, row.holds) == ("50.00", True)
    assert row.figures["spans a call"] == 2.0


def test_encoding_of_nothing_is_no_result():
    result = measured(num_spans=0, **{ON: [sample()] * 3, OFF: [sample()] * 3})
    assert rate.encoding_row(result).holds is False


def test_programs_that_are_measured_live_and_have_all_their_calls():
    clients = Clients(1, num_programs=3)
    listed = clients.programs.listing(clients.now)
    assert [(one.calls, one.tools, one.running, one.outcome) for one in listed] == [(NUM_TURNS, NUM_TURNS - 1, 0, "open")] * 3
