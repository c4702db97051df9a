"""The brief of a program against its account, which is made another way and says more."""

import random

import msgspec
import pytest
from tests.unit.told_calls import ran, told

from turnwise.proxy.programs.brief import brief, in_sequence
from turnwise.proxy.programs.causes import CAUSES_OF_CALLS, seconds, segments
from turnwise.proxy.programs.ledger import account
from turnwise.proxy.programs.values import Attempt, EngineTimes
from turnwise.types import ReplicaId

NUM_PROGRAMS = 4_000
FINAL_TOOLS = ("final_answer",)
FOLLOWING = ("continue", "rewrite", "retry")


def moments(rng, start, end):
    """Times that a call may have, of which some never came, and a few came before others that they follow."""
    times = sorted(rng.uniform(start, end) for _ in range(7))
    if rng.random() < 0.1:
        rng.shuffle(times)
    names = ("read", "admitted", "placed", "sent", "first_token", "first_visible", "last_byte")
    found = dict(zip(names, times, strict=True))
    found.update({name: None for name in names[3:] if rng.random() < 0.1})
    if rng.random() < 0.2:
        found["last_byte"] = end
    return found | {"first_tool": rng.choice((None, times[-2]))}


def call_of(rng, name, start, end, links, runs):
    changes = moments(rng, start, end)
    if rng.random() < 0.2:
        changes["is_stream"] = False
    if rng.random() < 0.2:
        changes["engine"] = EngineTimes(*(rng.uniform(0.0, 2.0) for _ in range(3)))
    if rng.random() < 0.1:
        changes["reason"] = "stream_broken"
    if rng.random() < 0.1:
        ended = rng.uniform(start, end)
        sent = rng.choice((None, rng.uniform(start, ended)))
        changes["attempts"] = (Attempt(0, ReplicaId("r1"), "connect_failed", sent, ended, rng.choice((None, start))),)
    tools = rng.choice(([], ["bash"], ["bash", "read"], ["final_answer"]))
    return told(name, start, end, *links, tools=tools, runs=runs, is_final=rng.random() < 0.3, **changes)


def sequence(rng):
    """Calls one after the other, of which each follows the one before, and whose tools nobody measured."""
    calls, before, now = [], None, 100.0
    for number in range(rng.randint(1, 8)):
        start = now + rng.choice((0.0, rng.uniform(0.0, 3.0)))
        runs = []
        if before is not None:
            # Whoever has the last byte of an answer may ask again before all of the call is over.
            if rng.random() < 0.2:
                start = now - rng.uniform(0.0, 0.99) * seconds(before)[-1]
            runs = [
                ran(before.call_id, *rng.choice(((now, start), between(rng, now, start))), number=run)
                for run in range(rng.choice((0, 1, 1, 2)))
            ]
        end = max(now, start) + rng.choice((0.0, rng.uniform(0.1, 5.0)))
        links = [] if before is None else [(rng.choice(FOLLOWING), before.call_id)]
        before = call_of(rng, f"c{number}", start, end, links, runs)
        calls.append(before)
        now = end
    return calls


def between(rng, start, end):
    return rng.uniform(start - 1.0, end + 1.0), rng.uniform(start - 1.0, end + 1.0)


def program(rng):
    """A sequence that something else may have happened beside: other links, calls at once, runs that were measured."""
    calls = sequence(rng)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        place = rng.randrange(len(calls))
        call, other = calls[place], rng.choice(calls)
        times = call.times
        match rng.randrange(7):
            case 0:
                links = told("x", 0.0, 1.0, (rng.choice((*FOLLOWING, "spawn", "join")), other.call_id)).links
                changed = {"links": rng.choice(((), links, (*call.links, *links)))}
            case 1:
                changed = {"links": tuple(msgspec.structs.replace(link, program="other") for link in call.links)}
            case 2:
                more = {"is_inferred": rng.random() < 0.5, "is_conversation": rng.random() < 0.3}
                run = ran(other.call_id, *between(rng, times.arrived, times.ended), number=9, **more)
                changed = {"runs": (*call.runs, run)}
            case 3:
                start, end = times.arrived, times.arrived + rng.uniform(0.0, 9.0)
                calls.append(call_of(rng, f"x{len(calls)}", start, end, [("continue", other.call_id)], []))
                continue
            case 4:
                early = max(0.0, times.arrived - rng.uniform(0.0, 3.0))
                changed = {"times": msgspec.structs.replace(times, arrived=early)}
            case 5:
                ended = rng.choice((times.arrived - 0.5, rng.uniform(times.arrived, times.ended)))
                changed = {"times": msgspec.structs.replace(times, ended=ended)}
            case _:
                changed = {"agent": rng.randint(0, 2)}
        calls[place] = msgspec.structs.replace(call, **changed)
    return calls if rng.random() < 0.1 else sorted(calls, key=lambda call: call.times.ended)


def compare(rng, calls):
    started_at = calls[0].times.arrived + rng.choice((0.0, -1.0, 0.25))
    found, ledger = brief(calls, started_at, FINAL_TOOLS), account(calls, started_at, FINAL_TOOLS)
    assert found.makespan_s == pytest.approx(ledger.makespan_s, abs=1e-9)
    assert found.ftr_s == ledger.ftr_s
    assert found.causes == pytest.approx({**dict.fromkeys(found.causes, 0.0), **ledger.causes}, abs=1e-9)
    assert found.engine_s == pytest.approx(ledger.engine_s, abs=1e-9)
    assert found.tool_runs == ledger.tool_runs
    assert all(seconds > 0.0 for seconds in found.causes.values())


@pytest.mark.parametrize("batch", range(8))
def test_the_brief_of_any_program_says_what_its_account_says(batch):
    num_in_sequence = 0
    for seed in range(batch, NUM_PROGRAMS, 8):
        rng = random.Random(seed)
        calls = program(rng)
        compare(rng, calls)
        num_in_sequence += in_sequence(calls, 100.0, FINAL_TOOLS) is not None
    assert 0.2 < num_in_sequence / (NUM_PROGRAMS / 8) < 0.8  # else one of the two ways is hardly tried


@pytest.mark.parametrize("batch", range(4))
def test_calls_one_after_the_other_are_summed_up_in_one_pass(batch):
    for seed in range(batch, NUM_PROGRAMS // 4, 4):
        rng = random.Random(seed)
        calls = sequence(rng)
        assert in_sequence(calls, 100.0, FINAL_TOOLS) is not None, seed
        compare(rng, calls)


def test_the_seconds_of_any_call_are_those_of_its_segments():
    for seed in range(NUM_PROGRAMS):
        rng = random.Random(seed)
        call = call_of(rng, "c", 10.0, 10.0 + rng.uniform(0.0, 5.0), [], [])
        sums = dict.fromkeys(CAUSES_OF_CALLS, 0.0)
        for stretch in segments(call):
            sums[stretch.cause] += stretch.end - stretch.start
        assert seconds(call) == pytest.approx(tuple(sums.values()), abs=1e-12)
