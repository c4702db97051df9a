"""Where the time of a program went."""

import math

import msgspec
import pytest
from tests.unit.told_calls import ran, told

from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.programs.ledger import RUNNING, account
from turnwise.proxy.programs.values import Attempt, EngineTimes, Times
from turnwise.turns import ToolCall
from turnwise.types import ReplicaId

TOOLS = ("final_answer",)


def ledger_of(*calls, **more):
    return account(sorted(calls, key=lambda call: call.times.ended), calls[0].times.arrived, TOOLS, **more)


def gaps(ledger):
    return [(stretch.cause, stretch.start, stretch.end) for stretch in ledger.path if stretch.is_gap]


def waits(ledger):
    return [cause for cause, _, _ in gaps(ledger)]


def loop(tool_end=3.0):
    """A call, the tool that it calls, and the call that answers."""
    return told("a", 0.0, 1.0, tools=["bash"]), told("b", 3.0, 5.0, ("continue", "a"), runs=[ran("a", 1.0, tool_end)])


def test_the_causes_of_the_path_sum_to_the_makespan():
    ledger = ledger_of(*loop())
    assert ledger.makespan_s == 5.0
    assert math.fsum(ledger.causes.values()) == pytest.approx(5.0, abs=1e-12)
    assert ledger.causes[Cause.TOOL_RUN] == 2.0
    assert waits(ledger) == [Cause.TOOL_RUN]


def test_what_a_tool_run_leaves_of_the_gap_is_the_clients():
    ledger = ledger_of(*loop(tool_end=2.5))
    assert gaps(ledger) == [(Cause.TOOL_RUN, 1.0, 2.5), (Cause.CLIENT, 2.5, 3.0)]


def test_a_tool_run_that_began_after_the_answer_leaves_what_was_before_to_the_client():
    calls = told("a", 0.0, 1.0, tools=["bash"]), told("b", 3.0, 5.0, ("continue", "a"), runs=[ran("a", 1.5, 3.0)])
    assert gaps(ledger_of(*calls)) == [(Cause.CLIENT, 1.0, 1.5), (Cause.TOOL_RUN, 1.5, 3.0)]


def test_a_tool_run_is_counted_once_where_it_explains_the_gap():
    assert ledger_of(*loop()).totals[Cause.TOOL_RUN] == 2.0


def test_a_measured_tool_run_is_told_from_its_queue_and_from_the_client_around_it():
    run = ran("a", 1.5, 2.5, is_inferred=False, queued_at=1.2)
    ledger = ledger_of(told("a", 0.0, 1.0, tools=["bash"]), told("b", 3.0, 5.0, ("continue", "a"), runs=[run]))
    assert ledger.causes[Cause.TOOL_QUEUE] == pytest.approx(0.3)
    assert ledger.causes[Cause.TOOL_RUN] == 1.0
    assert gaps(ledger) == [(Cause.CLIENT, 1.0, 1.2), (Cause.CLIENT, 2.5, 3.0)]
    assert ledger.tool_runs == 1


def test_of_parallel_tools_the_path_goes_through_the_one_that_ended_last():
    runs = [ran("a", 1.0, 1.5, is_inferred=False), ran("a", 1.0, 2.5, number=1, is_inferred=False)]
    ledger = ledger_of(told("a", 0.0, 1.0, tools=["x", "y"]), told("b", 3.0, 5.0, ("continue", "a"), runs=runs))
    assert "a/a-1" in {stretch.node for stretch in ledger.path}
    assert ledger.slack == {"a/a-0": 1.5}
    assert ledger.totals[Cause.TOOL_RUN] == 2.0
    assert ledger.causes[Cause.TOOL_RUN] == 1.5


def test_users_who_think_are_clients():
    ledger = ledger_of(told("a", 0.0, 1.0, is_final=True), told("b", 9.0, 10.0, ("continue", "a"), is_final=True))
    assert gaps(ledger) == [(Cause.CLIENT, 1.0, 9.0)]


def test_a_conversation_that_goes_on_after_a_tool_call_whose_result_has_no_id_waited_for_the_tool():
    ledger = ledger_of(told("a", 0.0, 1.0, tools=["python"]), told("b", 3.0, 4.0, ("rewrite", "a")))
    assert gaps(ledger) == [(Cause.TOOL_RUN, 1.0, 3.0)]
    assert ledger.totals[Cause.TOOL_RUN] == 2.0


@pytest.mark.parametrize("changes", [{"is_final": True}, {"reason": "stream_broken"}])
def test_tool_calls_of_a_final_or_a_broken_answer_wait_for_no_result(changes):
    ledger = ledger_of(told("a", 0.0, 1.0, tools=["final_answer"], **changes), told("b", 3.0, 4.0, ("continue", "a")))
    assert gaps(ledger) == [(Cause.CLIENT, 1.0, 3.0)]


def test_a_rewrite_of_a_call_whose_results_have_come_waited_for_its_client():
    ledger = ledger_of(*loop(), told("c", 6.0, 9.0, ("rewrite", "a")))
    assert gaps(ledger) == [(Cause.CLIENT, 1.0, 6.0)]


def fork():
    """A call that begins two sub-agents, the second of which takes longer, and the call that joins them."""
    agent = {"name": "agent", "is_conversation": True}
    runs = [ran("a", 1.0, 7.0, number=number, **agent) for number in range(2)]
    return (
        told("a", 0.0, 1.0, tools=["agent", "agent"]),
        told("s", 1.5, 3.0, ("spawn", "a"), agent=1, is_final=True),
        told("t", 1.5, 4.0, ("spawn", "a"), agent=2, tools=["bash"]),
        told("u", 5.0, 6.0, ("continue", "t"), agent=2, runs=[ran("t", 4.0, 5.0)], is_final=True),
        told("b", 7.0, 8.0, ("continue", "a"), ("join", "s"), ("join", "u"), runs=runs, is_final=True),
    )


def test_the_call_that_joins_waited_for_the_sub_agent_that_answered_last():
    ledger = ledger_of(*fork())
    assert gaps(ledger) == [(Cause.CLIENT, 1.0, 1.5), (Cause.TOOL_RUN, 4.0, 5.0), (Cause.JOIN_WAIT, 6.0, 7.0)]
    assert ledger.slack == {"s": 4.0}
    assert ledger.forks == 2
    assert ledger.tool_runs == 1
    assert ledger.causes[Cause.CLIENT] == pytest.approx(0.5)


def test_a_tool_that_nobody_measured_beside_a_sub_agent_is_given_the_wait_after_it():
    ledger = ledger_of(
        told("a", 0.0, 1.0, tools=["bash", "agent"]),
        told("s", 1.5, 3.0, ("spawn", "a"), agent=1, is_final=True),
        told("b", 7.0, 8.0, ("continue", "a"), ("join", "s"), runs=[ran("a", 1.0, 7.0)]),
    )
    assert gaps(ledger) == [(Cause.CLIENT, 1.0, 1.5), (Cause.TOOL_RUN, 3.0, 7.0)]
    assert ledger.slack == {}


def test_a_broken_call_of_a_final_answer_tool_is_no_result():
    call = told("a", 0.0, 1.0, tools=["final_answer"], first_tool=0.6)
    assert ledger_of(call).ftr_s == 0.6
    assert ledger_of(msgspec.structs.replace(call, reason="stream_broken")).ftr_s is None


def test_a_sub_agents_answer_is_not_the_programs():
    *before, joined = fork()
    assert ledger_of(*before).ftr_s is None
    assert ledger_of(*before, joined).ftr_s == joined.times.first_visible


def test_an_answer_that_another_call_joins_is_not_the_programs():
    sub = told("s", 1.0, 3.0, agent=1, is_final=True)
    joining = told("b", 4.0, 5.0, ("join", "s"), tools=["bash"])
    assert ledger_of(sub, joining).ftr_s is None


def test_a_program_that_another_one_spawned_has_an_answer_of_its_own():
    link = msgspec.structs.replace(told("x", 0, 1, ("spawn", "a")).links[0], program="other")
    ledger = ledger_of(msgspec.structs.replace(told("b", 0.0, 2.0, is_final=True), links=(link,)))
    assert (ledger.ftr_s, ledger.forks) == (1.0, 0)


def test_the_first_result_is_the_first_visible_token_of_the_last_final_answer():
    first, second = told("a", 0.0, 1.0, is_final=True), told("b", 2.0, 4.0, ("continue", "a"), is_final=True)
    assert ledger_of(first, second).ftr_s == 3.0
    whole = msgspec.structs.replace(second, is_stream=False)
    assert ledger_of(first, whole).ftr_s == 4.0


def test_of_final_answers_that_end_at_one_moment_the_later_is_the_programs():
    first, second = told("a", 0.0, 1.0, is_final=True), told("b", 1.0, 1.0, ("continue", "a"), is_final=True)
    assert ledger_of(first, second).ftr_s == 1.0


def test_text_before_a_tool_call_is_no_result():
    assert ledger_of(told("a", 0.0, 1.0, tools=["bash"])).ftr_s is None


def test_a_tool_that_gives_the_final_answer_is_shown_with_its_first_argument():
    call = told("b", 2.0, 4.0, ("continue", "a"), tools=["final_answer"], first_tool=3.5, is_final=True)
    assert ledger_of(told("a", 0.0, 1.0, tools=["bash"]), call).ftr_s == 3.5


def test_a_call_of_which_nothing_is_known_waited_for_what_ended_last_before_it_and_says_so():
    calls = [told(name, 2.0, end) for name, end in (("p", 3.0), ("q", 4.0), ("r", 3.5))]
    ledger = ledger_of(told("a", 0.0, 1.0), *calls, told("b", 5.0, 6.0))
    assert ledger.barriers == {"p": "a", "q": "a", "r": "a", "b": "q"}
    assert gaps(ledger) == [(Cause.CLIENT, 1.0, 2.0), (Cause.CLIENT, 4.0, 5.0)]
    assert all(stretch.is_inferred for stretch in ledger.path if stretch.is_gap)
    assert ledger.slack == {"p": 3.0, "r": 2.5}


def test_a_call_of_which_nothing_is_known_waited_for_what_ended_at_that_very_moment():
    ledger = ledger_of(told("a", 0.0, 3.0), told("c", 0.0, 2.0), told("b", 3.0, 4.0))
    assert ledger.barriers["b"] == "a"
    assert gaps(ledger) == []


def test_what_ended_last_before_a_call_of_which_nothing_is_known_has_its_slack_up_to_it():
    ledger = ledger_of(told("a", 0.0, 1.0), told("p", 2.0, 3.0), told("q", 2.5, 6.0), told("r", 4.0, 5.0))
    assert ledger.barriers["r"] == "p"
    assert ledger.slack == {"p": 1.0, "r": 1.0}


def test_a_call_off_the_path_has_no_slack_while_its_tool_begins_at_once():
    ledger = ledger_of(
        told("a", 0.0, 1.0),
        told("s", 1.0, 2.0, ("spawn", "a"), agent=1, tools=["bash"]),
        told("t", 3.0, 4.0, ("continue", "s"), agent=1, runs=[ran("s", 2.0, 3.0)]),
        told("b", 1.0, 9.0, ("continue", "a")),
    )
    assert ledger.slack == {"s": 0.0, "s/s-0": 0.0, "t": 5.0}


def test_time_is_unattributed_where_a_tool_call_waits_and_nothing_says_for_what():
    ledger = ledger_of(told("a", 0.0, 1.0, tools=["task"]), told("b", 3.0, 4.0))
    assert gaps(ledger) == [(Cause.UNATTRIBUTED, 1.0, 3.0)]


def test_a_conversation_begun_while_a_tool_runs_is_explained_by_that_tool():
    bringer = told("c", 5.0, 6.0, ("continue", "a"), runs=[ran("a", 1.0, 5.0, name="task")])
    late = told("b", 3.0, 7.0)
    ledger = ledger_of(told("a", 0.0, 1.0, tools=["task"]), late, bringer)
    assert gaps(ledger) == [(Cause.TOOL_RUN, 1.0, 3.0)]
    assert ledger.slack == {"c": 1.0}


def test_a_link_into_another_program_is_no_dependency_here():
    call = told("b", 3.0, 4.0)
    link = msgspec.structs.replace(told("x", 0, 1, ("continue", "a")).links[0], program="other")
    ledger = ledger_of(told("a", 0.0, 1.0), msgspec.structs.replace(call, links=(link,)))
    assert ledger.barriers == {"b": "a"}


def test_a_dependency_that_ends_after_its_successor_began_counts_up_to_there():
    first = told("a", 0.0, 6.0, reason="client_gone")
    ledger = ledger_of(first, told("b", 4.0, 9.0, ("retry", "a")))
    assert math.fsum(ledger.causes.values()) == pytest.approx(9.0, abs=1e-12)
    assert max(stretch.end for stretch in ledger.path if stretch.node == "a") == 4.0
    assert all(stretch.end > stretch.start for stretch in ledger.path)
    assert ledger.totals[Cause.DECODE] > ledger.causes[Cause.DECODE]


def test_of_dependencies_that_ran_on_the_one_that_began_last_was_waited_for():
    calls = told("u", 0.0, 9.0), told("w", 2.0, 6.0), told("b", 4.0, 12.0, ("join", "u"), ("join", "w"))
    ledger = ledger_of(*calls)
    assert {stretch.node for stretch in ledger.path if not stretch.is_gap} == {"w", "b"}
    assert ledger.slack == {"u": 0.0}


def test_a_dependency_that_began_later_is_none():
    ledger = ledger_of(told("a", 2.0, 3.0), told("b", 1.0, 5.0, ("continue", "a")))
    assert ledger.makespan_s == 4.0
    assert {stretch.node for stretch in ledger.path} == {"b"}


def test_conversations_that_began_side_by_side_leave_the_time_before_the_longer_one_to_the_client():
    ledger = ledger_of(told("a", 0.0, 2.0), told("b", 1.0, 5.0))
    assert gaps(ledger) == [(Cause.CLIENT, 0.0, 1.0)]
    assert ledger.slack == {"a": 3.0}


def test_replica_time_is_prefill_and_decode_of_every_call_and_costs_what_a_replica_costs():
    ledger = ledger_of(*loop(), price_per_hour=7200.0)
    assert ledger.engine_s == pytest.approx(3 * (0.9 - 0.004))
    assert ledger.cost == pytest.approx(2 * ledger.engine_s)
    assert ledger_of(*loop()).cost is None


def test_tokens_are_summed_and_those_that_no_engine_told_count_nothing():
    silent = {"cached_tokens": None, "completion_tokens": None}
    tokens = ledger_of(told("a", 0.0, 1.0), told("b", 2.0, 3.0, **silent)).tokens
    assert (tokens.prompt, tokens.cached, tokens.predicted, tokens.completion) == (200, 64, 160, 10)


def test_a_live_program_is_accounted_for_up_to_now():
    calls = loop()
    waiting = msgspec.structs.replace(calls[1], tools=calls[0].tools)
    assert gaps(ledger_of(*calls, now=8.0))[-1] == (Cause.CLIENT, 5.0, 8.0)
    assert gaps(ledger_of(calls[0], waiting, now=8.0))[-1] == (Cause.TOOL_RUN, 5.0, 8.0)
    running = ledger_of(*calls, now=8.0, is_running=True)
    assert (running.path[-1].cause, running.path[-1].detail) == (Cause.UNATTRIBUTED, RUNNING)
    assert running.makespan_s == 8.0
    assert math.fsum(running.causes.values()) == pytest.approx(8.0, abs=1e-12)
    assert ledger_of(*calls, now=4.0).makespan_s == 5.0
    first_still_runs = account(calls[1:], 0.0, TOOLS, now=8.0, is_running=True)
    assert first_still_runs.makespan_s == 8.0


def test_a_program_of_which_no_call_has_ended_has_only_its_age():
    assert account((), 3.0, TOOLS).makespan_s == 0.0
    ledger = account((), 3.0, TOOLS, now=5.0, is_running=True)
    assert ledger.makespan_s == 2.0
    assert ledger.causes == {Cause.UNATTRIBUTED: 2.0}
    assert (ledger.ftr_s, ledger.llm_calls, ledger.slack) == (None, 0, {})


def test_no_cause_takes_longer_on_the_path_than_in_all():
    side_by_side = (told("a", 0.0, 2.0), told("b", 1.0, 5.0))
    for calls, now in ((loop(), None), (fork(), None), (side_by_side, None), (loop(), 9.0)):
        ledger = ledger_of(*calls, now=now)
        assert all(seconds <= ledger.totals.get(cause, 0.0) + 1e-12 for cause, seconds in ledger.causes.items())


def test_a_ledger_is_json_with_its_causes_by_name():
    found = msgspec.json.decode(msgspec.json.encode(ledger_of(*fork())))
    assert found["causes"]["join_wait"] == 1.0
    assert found["path"][0]["cause"] == "ingest"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"is_final": True},
        {"is_final": True, "is_stream": False},
        {"tools": (ToolCall("t1", "final_answer", 4),)},
        {"reason": "stream_broken"},
        {"attempts": (Attempt(1, ReplicaId("r0"), "connect_failed", None, 0.3, 0.1),)},
        {"engine": EngineTimes(0.1, 0.2, 0.3)},
        {"times": Times(0.0, 0.5, 0.5, 0.5, ended=0.0)},
    ],
)
def test_a_program_of_one_call_is_accounted_for_as_any_other(changes):
    call = msgspec.structs.replace(told("a", 0.0, 1.0), **changes)
    # What is asked for up to a moment before the last end is made as for programs of many calls.
    assert ledger_of(call, price_per_hour=3.6) == ledger_of(call, price_per_hour=3.6, now=0.0)


def test_an_account_in_short_leaves_out_what_could_have_taken_longer_and_nothing_else():
    calls = fork()
    ledger = ledger_of(*calls)
    assert ledger.slack
    assert ledger_of(*calls, in_short=True) == msgspec.structs.replace(ledger, slack={}, barriers={})
