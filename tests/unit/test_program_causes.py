"""What the time of one call went to."""

import math

import msgspec
import pytest
from tests.unit.told_calls import ran, told

from turnwise.proxy.programs.causes import Cause, run_segments, segments
from turnwise.proxy.programs.values import Attempt, EngineTimes, Times
from turnwise.types import ReplicaId

WHOLE = told("a", 10.0, 20.0)


def with_times(**moments):
    return msgspec.structs.replace(WHOLE, times=msgspec.structs.replace(WHOLE.times, **moments))


def causes(call):
    return [(part.cause, part.detail) for part in segments(call)]


def test_each_stretch_of_a_streamed_call_lies_between_two_of_its_moments():
    found = {part.cause: (part.start, part.end) for part in segments(WHOLE)}
    times = WHOLE.times
    assert found == {
        Cause.INGEST: (times.arrived, times.read),
        Cause.QUEUE: (times.read, times.admitted),
        Cause.ROUTE: (times.admitted, times.placed),
        Cause.CONNECT: (times.placed, times.sent),
        Cause.PREFILL: (times.sent, times.first_token),
        Cause.DECODE: (times.first_token, times.last_byte),
        Cause.TAIL: (times.last_byte, times.ended),
    }


def test_an_answer_in_one_piece_is_decode_from_the_moment_it_was_sent():
    call = msgspec.structs.replace(with_times(first_token=18.9), is_stream=False)
    assert causes(call)[-3:] == [(Cause.CONNECT, ""), (Cause.DECODE, ""), (Cause.TAIL, "")]


def test_a_stream_that_broke_before_its_first_token_was_prefill_to_the_end():
    call = with_times(head=None, first_token=None, first_visible=None, last_byte=None)
    last = segments(call)[-1]
    assert (last.cause, last.start, last.end) == (Cause.PREFILL, call.times.sent, 20.0)


def test_a_stream_whose_client_left_was_decode_to_the_end():
    call = with_times(last_byte=None)
    assert segments(call)[-1].cause is Cause.DECODE
    assert segments(call)[-1].end == 20.0


def test_a_call_that_reached_no_replica_is_connecting_to_its_end():
    call = msgspec.structs.replace(WHOLE, times=Times(10.0, 10.1, 10.1, 10.2, ended=15.0))
    assert segments(call)[-1] == segments(call)[2]
    assert (segments(call)[-1].cause, segments(call)[-1].end) == (Cause.CONNECT, 15.0)


def test_a_dropped_call_waited_in_the_queue():
    call = msgspec.structs.replace(WHOLE, replica=None, times=Times(10.0, 10.1, 15.0, 15.0, ended=15.0))
    assert causes(call) == [(Cause.INGEST, ""), (Cause.QUEUE, "")]


def test_attempts_that_failed_are_connecting_and_told_apart():
    attempts = (
        Attempt(1, ReplicaId("r1"), "connect_failed", None, 11.0, 10.5),
        Attempt(2, ReplicaId("r2"), "stream_broken", 11.6, 12.0, 11.5),
    )
    call = msgspec.structs.replace(with_times(read=10.1, admitted=10.2, placed=12.5, sent=12.6), attempts=attempts)
    found = [(part.cause, part.start, part.end, part.detail) for part in segments(call)]
    assert found[:8] == [
        (Cause.INGEST, 10.0, 10.1, ""),
        (Cause.QUEUE, 10.1, 10.2, ""),
        (Cause.ROUTE, 10.2, 10.5, ""),
        (Cause.CONNECT, 10.5, 11.0, "attempt 1 at r1: connect_failed"),
        (Cause.ROUTE, 11.0, 11.5, ""),
        (Cause.CONNECT, 11.5, 12.0, "attempt 2 at r2: stream_broken"),
        (Cause.ROUTE, 12.0, 12.5, ""),
        (Cause.CONNECT, 12.5, 12.6, ""),
    ]


def test_a_call_that_was_given_up_after_a_failed_attempt_keeps_its_attempt():
    attempts = (Attempt(1, ReplicaId("r1"), "connect_failed", None, 14.0, 10.5),)
    call = msgspec.structs.replace(WHOLE, replica=None, times=Times(10.0, 10.1, 15.0, 15.0, ended=15.0), attempts=attempts)
    assert [part.cause for part in segments(call)] == [Cause.INGEST, Cause.QUEUE, Cause.CONNECT, Cause.ROUTE]


def test_prefill_is_divided_as_the_engine_reports_it():
    call = msgspec.structs.replace(WHOLE, engine=EngineTimes(1.0, 2.0, 4.0))
    prefill = [(part.detail, part.end - part.start) for part in segments(call) if part.cause is Cause.PREFILL]
    assert [detail for detail, _ in prefill] == ["queued", "computed", ""]
    assert prefill[0][1] == pytest.approx(1.0)
    assert prefill[1][1] == pytest.approx(2.0)
    assert math.fsum(length for _, length in prefill) == pytest.approx(WHOLE.times.first_token - WHOLE.times.sent)


def test_an_engine_that_reports_more_than_there_was_does_not_stretch_a_call():
    call = msgspec.structs.replace(WHOLE, engine=EngineTimes(3.0, 9.0, 4.0))
    assert causes(call)[4:] == [(Cause.PREFILL, "queued"), (Cause.PREFILL, "computed"), (Cause.DECODE, ""), (Cause.TAIL, "")]


def test_the_engine_divides_an_answer_in_one_piece():
    call = msgspec.structs.replace(with_times(first_token=18.9), is_stream=False, engine=EngineTimes(1.0, 2.0, 4.0))
    assert causes(call)[4:] == [(Cause.PREFILL, "queued"), (Cause.PREFILL, "computed"), (Cause.DECODE, ""), (Cause.TAIL, "")]


def test_what_the_engine_reports_ends_with_the_last_byte_of_an_answer_in_one_piece():
    call = msgspec.structs.replace(with_times(first_token=19.5), is_stream=False, engine=EngineTimes(1.0, 20.0, 0.0))
    assert [(part.detail, part.end) for part in segments(call)][-2:] == [("computed", 19.0), ("", 20.0)]


def test_an_attempt_of_which_nobody_noted_the_beginning_began_when_it_was_sent():
    attempts = (Attempt(1, ReplicaId("r1"), "stream_broken", 10.5, 11.0),)
    call = msgspec.structs.replace(with_times(read=10.1, admitted=10.2, placed=12.5, sent=12.6), attempts=attempts)
    assert [(part.cause, part.end) for part in segments(call)][2:4] == [(Cause.ROUTE, 10.5), (Cause.CONNECT, 11.0)]


@pytest.mark.parametrize("missing", range(2**5))
def test_whatever_moments_are_missing_or_out_of_order_the_stretches_sum_to_the_call(missing):
    names = ("sent", "head", "first_token", "first_visible", "last_byte")
    gone = dict.fromkeys(name for number, name in enumerate(names) if missing >> number & 1)
    for more in ({}, {"read": 25.0}, {"placed": 9.0}, {"last_byte": 30.0}, {"first_token": 10.0}, {"ended": 10.0}):
        for is_stream in (True, False):
            call = msgspec.structs.replace(with_times(**(more | gone)), is_stream=is_stream)
            parts = segments(call)
            assert math.fsum(part.end - part.start for part in parts) == pytest.approx(call.times.ended - 10.0, abs=1e-12)
            edges = [edge for part in parts for edge in (part.start, part.end)]
            assert edges == sorted(edges)
            assert edges[2::2] == edges[1:-1:2]


def test_a_tool_run_waits_in_the_queue_where_somebody_saw_it_queued():
    found = run_segments("a/a-0", ran("a", 3.0, 5.0, is_inferred=False, queued_at=2.0))
    assert [(part.cause, part.start, part.end) for part in found] == [(Cause.TOOL_QUEUE, 2.0, 3.0), (Cause.TOOL_RUN, 3.0, 5.0)]
    assert [part.cause for part in run_segments("a/a-0", ran("a", 3.0, 5.0))] == [Cause.TOOL_RUN]
