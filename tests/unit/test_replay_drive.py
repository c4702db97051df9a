"""When the calls of a trace are sent."""

import asyncio
from array import array

import pytest

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.replay.drive import Pacing, play
from turnwise.proxy.replay.trace import TraceCall, TraceSession


def call(number, at_s, think_s=0.0, after=()):
    return TraceCall(at_s=at_s, think_s=think_s, after=after, prompt_tokens=number, output_tokens=1, blocks=array("q"))


def session(name, *calls):
    return TraceSession(name=name, calls=calls)


def sent(sessions, pacing, answer_s=1.0):
    """Times at which calls were sent, by session and number."""

    async def main():
        times = {}
        now = asyncio.get_running_loop().time

        async def send(which, what):
            times[which.name, what.prompt_tokens] = round(now(), 6)
            await asyncio.sleep(answer_s)

        await play(sessions, pacing, send)
        return times, now()

    return run_virtual(main())


CHAIN = (call(0, 5.0), call(1, 6.0, think_s=2.0, after=(0,)), call(2, 90.0, think_s=80.0, after=(1,)))


def test_an_open_loop_sends_at_the_times_of_the_trace_whatever_the_answers_take():
    times, _end = sent([session("a", *CHAIN), session("b", call(0, 5.5))], Pacing(is_open=True), answer_s=50.0)
    assert times == {("a", 0): 0.0, ("b", 0): 0.5, ("a", 1): 1.0, ("a", 2): 85.0}


def test_speedup_divides_every_time_of_the_trace():
    times, _end = sent([session("a", *CHAIN)], Pacing(is_open=True, speedup=10.0))
    assert times == {("a", 0): 0.0, ("a", 1): 0.1, ("a", 2): 8.5}


def test_a_closed_loop_waits_for_the_answer_and_thinks_no_longer_than_the_cap():
    times, end = sent([session("a", *CHAIN)], Pacing(is_open=False, ramp_s=0.0, think_cap_s=30.0))
    assert times == {("a", 0): 0.0, ("a", 1): 3.0, ("a", 2): 34.0}
    assert end == pytest.approx(35.0)


def test_calls_that_follow_several_wait_for_all_of_them():
    fan = session(
        "f", call(0, 0.0), call(1, 1.0, think_s=1.0, after=(0,)), call(2, 1.0, 5.0, (0,)), call(3, 9.0, 1.0, (0, 1, 2))
    )
    times, _end = sent([fan], Pacing(is_open=False, ramp_s=0.0))
    assert times == {("f", 0): 0.0, ("f", 1): 2.0, ("f", 2): 6.0, ("f", 3): 8.0}


def test_a_closed_loop_keeps_so_many_sessions_live_and_starts_them_within_the_ramp():
    sessions = [session(str(number), call(0, 0.0)) for number in range(6)]
    times, _end = sent(sessions, Pacing(is_open=False, live=2, ramp_s=4.0, seed=3), answer_s=100.0)
    first = sorted(times.values())[:2]
    assert 0.0 <= first[0] <= first[1] <= 4.0
    assert first[0] != first[1]
    assert sorted(times.values())[2:4] == pytest.approx([at + 100.0 for at in first])
    assert times == sent(sessions, Pacing(is_open=False, live=2, ramp_s=4.0, seed=3), answer_s=100.0)[0], (
        "equal seeds, equal runs"
    )
    assert times != sent(sessions, Pacing(is_open=False, live=2, ramp_s=4.0, seed=4), answer_s=100.0)[0]


def test_a_call_that_fails_ends_the_replay():
    async def main():
        async def send(_session, _call):
            raise LookupError("refused")

        await play([session("a", *CHAIN)], Pacing(is_open=True), send)

    with pytest.raises(ExceptionGroup) as caught:
        run_virtual(main())
    assert caught.group_contains(LookupError, match="refused")
