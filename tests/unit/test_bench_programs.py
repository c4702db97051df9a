"""What `make bench-programs` sends, counts and concludes."""

import json
import os
import time
from itertools import pairwise

import pytest
from bench.programs import rate, short
from bench.programs.live import NUM_TURNS, Clients
from bench.programs.sink import Connection, Taken
from bench.programs.stage import OFF, ON, Plan, Sample, Stage, thread_ns
from bench.proxy.results import Load
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PLAN = Plan([], 1)
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


def sample(p99_us=100.0, beside_ns=0, late_us=0.0):
    load = Load(10, 0, "", 1.0, 40, 0.1, first_chunk_p99_us=p99_us, late_p99_us=late_us)
    return Sample(load, path_ns=1_000_000, beside_ns=beside_ns)


def visit(one, before=None, after=None):
    return rate.Visit(one, before or sample(), after or sample())


def measured(num_spans=60, **visits):
    return rate.Measured(visits, dict.fromkeys(visits, 30), num_spans, dict.fromkeys(visits, 0.0))


def test_a_ratio_is_to_the_samples_without_programs_right_before_and_after():
    rounds = [(200.0, 100.0, 400.0), (300.0, 100.0, 100.0), (90.0, 90.0, 90.0)]
    on = [visit(*map(sample, p99s)) for p99s in rounds]
    assert measured(**{ON: on}).slowdown(ON) == 1.0


def test_encoding_is_what_other_threads_use_beyond_what_they_use_without_programs():
    result = measured(**{ON: [visit(sample(beside_ns=600_000), after=sample(beside_ns=100_000))] * 3})
    row = rate.encoding_row(result)
    assert (row.measured, row.holds) == ("50.00", True)
    assert row.figures["spans a call"] == 2.0


def test_encoding_of_nothing_is_no_result():
    assert rate.encoding_row(measured(num_spans=0, **{ON: [visit(sample())] * 3})).holds is False


class Disturbed(Stage):
    """A stage whose first samples are disturbed: each takes so much of a core away, or makes the generator late."""

    def __init__(self, num_times, stolen_s, late_us):
        self.num_times = num_times
        self.by = (stolen_s, late_us)
        self.num_samples = 0
        self.stolen_s = 0.0

    def sample(self, *_):
        self.num_samples += 1
        stolen_s, late_us = self.by if self.num_samples <= self.num_times else (0.0, 0.0)
        self.stolen_s += stolen_s
        return sample(float(self.num_samples), late_us=late_us)


BY_HOST, BY_GENERATOR = (1.0, 0.0), (0.0, 2 * rate.LATE_LIMIT_US)


@pytest.mark.parametrize("by", [BY_HOST, BY_GENERATOR])
@pytest.mark.parametrize(("num_times", "num_samples"), [(0, 1), (2, 3), (99, rate.MAX_TRIES)])
def test_a_sample_that_the_machine_disturbed_is_taken_again_but_not_without_end(num_times, num_samples, by):
    stage = Disturbed(num_times, *by)
    taking = rate.Taking(stage, PLAN, stolen=lambda: {"cpu0": 0.0, "cpu1": stage.stolen_s})
    assert taking.sample(OFF, 0).load.first_chunk_p99_us == num_samples
    assert (taking.num_again, taking.num_disturbed) == (num_samples - 1, num_times == 99)


def test_a_run_on_a_machine_that_is_never_left_alone_ends():
    stage = Disturbed(9_999, *BY_HOST)
    taking = rate.Taking(stage, PLAN, stolen=lambda: {"cpu0": stage.stolen_s})
    for _ in range(rate.MAX_AGAIN):
        taking.sample(OFF, 0)
    assert (taking.num_again, taking.num_disturbed) == (rate.MAX_AGAIN, rate.MAX_AGAIN)


def test_programs_that_are_measured_live_and_have_all_their_calls():
    clients = Clients(1, num_programs=3)
    listed = clients.programs.listing(clients.now)
    assert [(one.calls, one.tools, one.running, one.outcome) for one in listed] == [(NUM_TURNS, NUM_TURNS - 1, 0, "open")] * 3
