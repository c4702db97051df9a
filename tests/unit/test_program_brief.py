"""What is counted of a program that has ended, and when one pass over its calls is enough for that."""

import pytest
from tests.unit.told_calls import ran, told

from turnwise.proxy.programs.brief import brief, in_sequence
from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.programs.ledger import account

FIRST = told("a", 0.0, 1.0, tools=["bash"])


def answer(start, end, *links, caller="a", **changes):
    return told("b", start, end, *links, runs=[ran(caller, 1.0, start)], is_final=True, **changes)


def in_one_pass(*calls):
    return in_sequence(calls, calls[0].times.arrived, ())


def test_an_agent_that_waits_for_each_of_its_tools_is_summed_up_in_one_pass():
    found = in_one_pass(FIRST, answer(3.0, 5.0, ("continue", "a")))
    assert (found.makespan_s, found.ftr_s, found.tool_runs) == (5.0, 4.0, 1)
    assert found.causes[Cause.TOOL_RUN] == 2.0
    assert found.engine_s == pytest.approx(3 * (0.9 - 0.004))


def test_so_is_a_program_of_one_call_whenever_it_was_opened():
    found = in_sequence((FIRST,), -1.0, ())
    assert (found.makespan_s, found.ftr_s) == (2.0, None)
    assert found.causes[Cause.CLIENT] == 1.0


def test_so_is_one_whose_client_asked_again_once_it_had_the_last_byte():
    found = in_one_pass(FIRST, answer(0.95, 2.0, ("continue", "a")))
    assert found.causes[Cause.TAIL] == pytest.approx(0.05 + 0.1 * 1.05)
    assert found.makespan_s == 2.0


@pytest.mark.parametrize(
    "calls",
    [
        (FIRST, answer(0.5, 2.0, ("continue", "a"))),  # while the answer was written
        (told("a", 0.0, 9.0, first_token=0.5, last_byte=1.0), answer(2.0, 3.0, ("continue", "a"))),  # and ended before it
        (FIRST, answer(3.0, 4.0)),  # nothing says what it waited for
        (FIRST, answer(3.0, 4.0, ("continue", "a"), ("join", "a"))),
        (FIRST, answer(3.0, 4.0, ("spawn", "a"))),
        (FIRST, answer(3.0, 4.0, ("continue", "a"), caller="x")),
    ],
)
def test_of_others_the_account_is_made(calls):
    assert in_one_pass(*calls) is None
    found, ledger = brief(calls, 0.0, ()), account(calls, 0.0, ())
    assert (found.makespan_s, found.ftr_s, found.causes) == (ledger.makespan_s, ledger.ftr_s, ledger.causes)
    assert (found.engine_s, found.tool_runs) == (ledger.engine_s, ledger.tool_runs)


def test_no_calls_are_no_sequence():
    assert in_sequence((), 0.0, ()) is None
    assert brief((), 0.0, ()).makespan_s == 0.0
