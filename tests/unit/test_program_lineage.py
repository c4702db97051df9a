"""Which call a call follows, told by prompts alone."""

import pytest
from tests.unit.agents import World, calls, links, result, says, user

from turnwise.proxy.programs.lineage import MAX_TWINS
from turnwise.proxy.programs.values import Basis, LinkKind, Running
from turnwise.types import ProgramId

TASK = "Count the lines of every file in the folder and tell me which is longest."
GO = user("Look at the folder and say what is in it.")
LS = calls(("call_1", "ls"))
DONE = says("There are two files.")


def test_a_call_whose_prompt_extends_another_continues_it():
    world = World()
    first = world.call(GO, answer=LS)
    second = world.begin(GO, LS, result("call_1"))
    assert links(second) == [("continue", first.call_id)]
    assert (second.key, second.basis, second.agent, second.number) == (first.key, Basis.LINEAGE, 0, 1)


def test_nothing_is_known_of_another_prompt():
    world = World()
    first = world.call(GO, answer=LS)
    other = world.begin(user("Something else."))
    assert (links(other), other.basis) == ([], Basis.NEW)
    assert other.key.id != first.key.id


def test_the_same_first_prompt_again_is_another_program():
    world = World()
    first = world.call(GO, answer=LS)
    again = world.begin(GO)
    assert (links(again), again.basis) == ([], Basis.NEW)
    assert again.key.id != first.key.id


def test_of_equal_prompts_that_is_continued_whose_tool_call_is_answered():
    world = World()
    turns = [world.begin(GO) for _ in range(3)]
    for number, turn in enumerate(turns):
        world.end(turn, calls((f"call_{number}", "ls")))
    for number in (1, 0, 2):
        next_ = world.begin(GO, calls((f"call_{number}", "ls")), result(f"call_{number}"))
        assert links(next_) == [("continue", turns[number].call_id)]
        assert next_.key is turns[number].key


def test_of_equal_prompts_that_is_continued_which_was_answered_so():
    world = World()
    turns = [world.begin(GO) for _ in range(3)]
    for number, turn in enumerate(turns):
        world.end(turn, says(f"Answer {number}."))
    world.begin(user("keeps its programs busy"))
    for number in (1, 0, 2):
        assert links(world.begin(GO, says(f"Answer {number}."), user("And?"))) == [("continue", turns[number].call_id)]


def test_a_tool_call_that_a_client_named_anew_is_known_by_what_it_says():
    world = World()
    first = world.call(GO, answer=calls(("call_1", "ls")))
    assert links(world.begin(GO, calls(("abc", "ls")), result("abc"))) == [("continue", first.call_id)]


def test_of_equal_prompts_whose_answers_nobody_repeats_the_newest_that_nobody_continued_is_taken():
    world = World()
    world.call(GO, answer=says("<think>one</think>Yes."))
    second = world.call(GO, answer=says("<think>two</think>Yes."))
    assert links(world.begin(GO, says("Yes."), user("Why?"))) == [("continue", second.call_id)]


def test_of_equal_prompts_that_ran_at_one_time_and_that_nothing_tells_apart_none_is_taken():
    world = World()
    turns = [world.begin(GO), world.begin(GO)]
    for number, turn in enumerate(turns):
        world.end(turn, says(f"<think>{number}</think>Yes."))
    unknown = world.begin(GO, says("Yes."), user("Why?"))
    assert (links(unknown), unknown.basis) == ([], Basis.NEW)


def test_one_of_many_agents_that_open_alike_is_found_by_its_tool_call():
    world = World()
    turns = [world.call(GO, answer=calls((f"call_{number}", "ls"))) for number in range(3 * MAX_TWINS)]
    next_ = world.begin(GO, calls(("call_5", "ls")), result("call_5"))
    assert links(next_) == [("continue", turns[5].call_id)]


def test_a_tool_call_id_that_engines_number_anew_for_each_answer_tells_nothing_between_conversations():
    world = World()
    one = world.call(user("One."), answer=calls(("functions.ls:0", "ls")))
    two = world.call(user("Two."), answer=calls(("functions.ls:0", "ls")))
    next_ = world.begin(user("One."), calls(("functions.ls:0", "ls")), result("functions.ls:0"))
    assert links(next_) == [("continue", one.call_id)]
    assert [run.caller for run in next_.runs] == [one.call_id]
    assert links(world.begin(user("Two."), calls(("functions.ls:0", "ls")), result("functions.ls:0"))) == [
        ("continue", two.call_id)
    ]


def test_a_second_call_that_extends_one_prompt_is_a_branch():
    world = World()
    first = world.call(GO, answer=LS)
    one = world.begin(GO, LS, result("call_1"))
    other = world.begin(GO, LS, result("call_1", "otherwise"))
    assert links(one) == links(other) == [("continue", first.call_id)]
    assert [(turn.agent, turn.number) for turn in (first, one, other)] == [(0, 0), (0, 1), (1, 0)]
    assert [len(turn.runs) for turn in (one, other)] == [1, 0]


def test_an_answer_may_be_gone_on_from_before_its_end_was_seen():
    world = World()
    first = world.begin(GO)
    second = world.begin(GO, LS, result("call_1"))
    world.end(first, LS)
    assert links(second) == [("continue", first.call_id)]
    (row,) = world.programs.listing(world.now)
    assert (row.running, row.waiting) == (1, 0)


def test_an_earlier_prompt_is_extended_where_a_user_adds_words():
    world = World()
    first = world.begin(GO)
    world.end(first, status=500)
    second = world.begin(GO, user("Please."))
    assert links(second) == [("continue", first.call_id)]


def test_a_conversation_with_an_answer_that_nobody_gave_here_is_not_taken_for_another_that_opens_alike():
    world = World()
    world.call(GO, answer=says("One."))
    stranger = world.begin(GO, says("Other."), user("So?"), says("Well."), user("Go on."))
    assert (links(stranger), stranger.basis) == ([], Basis.NEW)


def test_the_same_turns_under_another_head_rewrite():
    world = World()
    first = world.call(GO, answer=LS)
    second = world.call(GO, LS, result("call_1"), answer=calls(("call_2", "ls")))
    head = {"role": "system", "content": "You are brief."}
    third = world.begin(GO, LS, result("call_1"), calls(("call_2", "ls")), result("call_2"), system=head)
    assert links(third) == [("rewrite", second.call_id)]
    assert (third.key, third.agent, third.number) == (first.key, 0, 2)
    assert [run.id for run in third.runs] == ["call_2"]


def test_the_same_turns_whose_last_one_was_extended_rewrite():
    world = World()
    world.call(GO, answer=LS)
    second = world.call(GO, LS, result("call_1"), answer=DONE)
    head = {"role": "system", "content": "Give the final answer."}
    third = world.begin(GO, LS, result("call_1", "done, now answer"), system=head)
    assert links(third) == [("rewrite", second.call_id)]


def test_an_opening_under_another_head_is_known_by_its_answer():
    world = World()
    first = world.call(GO, answer=LS)
    head = {"role": "system", "content": "You are brief."}
    assert links(world.begin(GO, LS, result("call_1"), system=head)) == [("rewrite", first.call_id)]


def test_an_opening_alone_under_another_head_is_another_program():
    world = World()
    world.call(GO, answer=LS)
    head = {"role": "system", "content": "You are brief."}
    assert links(world.begin(GO, says("No such answer."), user("So?"), system=head)) == []
    assert links(world.begin(GO, system=head)) == []


def test_conversations_of_one_client_that_puts_an_answer_into_their_openings_are_not_taken_for_each_other():
    world = World()
    context, canned = user("This is the folder that you work in."), says("Got it.")
    first = world.call(context, canned, GO, answer=LS)
    other = world.begin(context, canned, user("Something else."))
    assert (links(other), other.basis) == ([], Basis.NEW)
    assert links(world.begin(context, canned, GO, LS, result("call_1"))) == [("continue", first.call_id)]


def test_a_note_that_a_client_moves_to_the_newest_turn_does_not_begin_a_branch():
    world = World()
    note = user("<note>Be quick.</note>")
    first = world.call(GO, answer=LS)
    before = [GO, LS, result("call_1"), calls(("call_2", "ls")), result("call_2")]
    world.call(*before[:3], answer=before[3])
    third = world.call(*before, note, answer=calls(("call_3", "ls")))
    fourth = world.begin(*before, calls(("call_3", "ls")), result("call_3"), note)
    assert links(fourth) == [("rewrite", third.call_id)]
    assert (fourth.key, fourth.agent, fourth.number) == (first.key, 0, 3)


def test_a_conversation_cut_down_is_known_by_the_tool_call_that_it_answers():
    world = World()
    world.call(GO, answer=LS)
    second = world.call(GO, LS, result("call_1"), answer=calls(("call_2", "cat")))
    cut = world.begin(user("What happened before was left out."), calls(("call_2", "cat")), result("call_2"))
    assert links(cut) == [("rewrite", second.call_id)]


def test_a_conversation_that_quotes_a_tool_call_was_spawned_by_it():
    world = World()
    parent = world.call(GO, answer=calls(("call_1", "agent"), prompt=TASK))
    child = world.begin(user(TASK), system={"role": "system", "content": "You are an agent."})
    assert links(child) == [("spawn", parent.call_id)]
    assert (child.key, child.agent, child.number, child.basis) == (parent.key, 1, 0, Basis.LINEAGE)


def test_the_call_that_answers_the_tool_call_joins_what_it_spawned():
    world = World()
    agent = calls(("call_1", "agent"), prompt=TASK)
    parent = world.call(GO, answer=agent)
    child = world.call(user(TASK), answer=LS)
    child_end = world.call(user(TASK), LS, result("call_1x"), answer=DONE)
    joined = world.begin(GO, agent, result("call_1"))
    assert links(joined) == [("continue", parent.call_id), ("join", child_end.call_id)]
    assert child.key is child_end.key is joined.key
    (run,) = joined.runs
    assert (run.name, run.is_conversation) == ("agent", True)


def test_a_tool_call_quoted_after_its_result_has_come_spawns_nothing():
    world = World()
    agent = calls(("call_1", "agent"), prompt=TASK)
    world.call(GO, answer=agent)
    world.begin(GO, agent, result("call_1"))
    assert links(world.begin(user(TASK))) == []


def test_a_conversation_that_two_calls_may_have_spawned_is_unknown():
    world = World()
    world.call(user("One."), answer=calls(("call_1", "agent"), prompt=TASK))
    world.call(user("Two."), answer=calls(("call_2", "agent"), prompt=TASK))
    unknown = world.begin(user(TASK))
    assert (links(unknown), unknown.basis) == ([], Basis.NEW)


def test_equal_tool_calls_of_one_answer_spawn_one_conversation_each():
    world = World()
    parent = world.call(GO, answer=calls(("call_1", "agent"), ("call_2", "agent"), prompt=TASK))
    children = [world.call(user(TASK), answer=says(f"Answer {number}.")) for number in range(2)]
    assert [links(child) for child in children] == [[("spawn", parent.call_id)]] * 2
    joined = world.begin(GO, calls(("call_1", "agent"), ("call_2", "agent"), prompt=TASK), result("call_1"), result("call_2"))
    assert links(joined)[1:] == [("join", child.call_id) for child in children]


def test_the_same_prompt_after_a_failure_is_another_try():
    world = World()
    failed = world.begin(GO)
    world.end(failed, status=503)
    again = world.begin(GO)
    assert links(again) == [("retry", failed.call_id)]
    assert (again.key, again.agent, again.number) == (failed.key, 0, 1)
    world.end(again, LS)
    assert links(world.begin(GO, LS, result("call_1"))) == [("continue", again.call_id)]


def test_a_call_whose_client_left_or_that_nobody_could_serve_may_be_tried_again():
    world = World()
    gone = world.begin(GO)
    world.end(gone, is_complete=False)
    dropped = world.begin(GO)
    assert links(dropped) == [("retry", gone.call_id)]
    call = world.programs.drop(dropped, "queue_full", world.now)
    assert (call.reason, call.replica, call.is_final) == ("queue_full", None, False)
    assert links(world.begin(GO)) == [("retry", dropped.call_id)]


def test_a_failure_of_long_ago_is_tried_again_only_where_the_client_says_so():
    world = World()
    failed = world.begin(GO)
    world.end(failed, status=503)
    world.now += 61
    assert links(world.begin(GO)) == []
    assert links(world.begin(GO, headers={"x-stainless-retry-count": "1"})) == [("retry", failed.call_id)]


def test_a_client_that_did_not_wait_may_try_again_while_the_first_try_runs():
    world = World()
    running = world.begin(GO)
    assert links(world.begin(GO, headers={"x-stainless-retry-count": "1"})) == [("retry", running.call_id)]
    assert links(world.begin(GO)) == []


def test_another_tenant_follows_nothing_whatever_it_knows():
    world = World()
    mine, yours = {"authorization": "Bearer mine"}, {"authorization": "Bearer yours"}
    agent = calls(("call_1", "agent"), prompt=TASK)
    first = world.call(GO, answer=agent, headers=mine)
    copied = world.begin(GO, agent, result("call_1"), headers=yours)
    assert (links(copied), copied.runs, copied.basis) == ([], (), Basis.NEW)
    assert links(world.begin(user(TASK), headers=yours)) == []
    own = world.begin(GO, agent, result("call_1"), headers=mine)
    assert links(own) == [("continue", first.call_id)]
    assert len(own.runs) == 1


@pytest.mark.parametrize("num_turns", [8, 300])
def test_a_long_conversation_is_followed_and_its_older_calls_are_not_kept(num_turns):
    world = World()
    turns = [GO]
    first = None
    for number in range(num_turns):
        answer = calls((f"call_{number}", "ls"))
        turn = world.call(*turns, answer=answer)
        first = first or turn
        turns += [answer, result(f"call_{number}")]
        assert (turn.key, turn.number) == (first.key, number)
    assert len(turn.node.line.nodes) == 2


def test_the_runs_of_parallel_tools_are_told_in_the_order_of_their_results():
    world = World()
    both = calls(("call_1", "ls"), ("call_2", "ls"))
    first = world.call(GO, answer=both)
    second = world.begin(GO, both, result("call_2"), result("call_1"), result("call_9"))
    assert [(run.id, run.caller) for run in second.runs] == [("call_2", first.call_id), ("call_1", first.call_id)]


def test_what_a_gateway_measured_replaces_what_the_gap_tells():
    world = World()
    first = world.call(GO, answer=LS)
    assert world.tool_event(first, "call_1", 2.25, 2.5, 2.75, ok=False)
    assert not world.tool_event(first, "call_2", 2.25, 2.5, 2.75)
    (run,) = world.begin(GO, LS, result("call_1")).runs
    assert (run.queued_at, run.started_at, run.ended_at, run.is_inferred, run.is_ok) == (2.25, 2.5, 2.75, False, False)
    assert not world.tool_event(first, "call_1", 2.25, 2.5, 2.75)


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ((1.5, 1.75, 2.5), (2.0, 2.0, 2.5)),
        ((2.25, 2.5, 3.75), (2.25, 2.5, 3.0)),
        ((-1000.0, -1000.0, 5000.0), (2.0, 2.0, 3.0)),
        ((2.0, 2.0, 2.0), (2.0, 2.0, 2.0)),
    ],
)
def test_a_run_that_does_not_fit_between_its_two_calls_is_cut_to_fit(told, known):
    world = World()
    first = world.call(GO, answer=LS)
    assert world.tool_event(first, "call_1", *told)
    (run,) = world.begin(GO, LS, result("call_1")).runs
    assert (run.queued_at, run.started_at, run.ended_at, run.is_inferred) == (*known, False)


@pytest.mark.parametrize("told", [(-1000.0, -1000.0, 0.0), (4.0, 4.0, 1e12)])
def test_a_run_that_was_at_another_time_altogether_is_inferred(told):
    world = World()
    first = world.call(GO, answer=LS)
    assert world.tool_event(first, "call_1", *told)
    (run,) = world.begin(GO, LS, result("call_1")).runs
    assert (run.queued_at, run.started_at, run.ended_at, run.is_inferred) == (None, 2.0, 3.0, True)


def test_the_calls_that_run_are_known_until_they_end():
    world = World()
    first = world.begin(GO, headers={"x-turnwise-agent": "planner"})
    (running,) = world.programs.running(first.key.id)
    assert running == Running(first.call_id, 0, "planner", 0, 1.0)
    world.end(first, LS)
    assert world.programs.running(first.key.id) == ()
    again = world.begin(GO, LS, result("call_1"))
    assert [(call.call_id, call.turn) for call in world.programs.running(first.key.id)] == [(again.call_id, 1)]
    world.end(again, status=500)
    assert world.programs.running(first.key.id) == world.programs.running(ProgramId("unknown")) == ()


def test_a_tool_event_of_another_call_is_not_taken():
    world = World()
    first = world.call(GO, answer=LS)
    other = world.call(user("Else."), answer=DONE)
    assert not world.tool_event(other, "call_1", 2.0, 2.0, 2.0)
    (run,) = world.begin(GO, LS, result("call_1")).runs
    assert (run.caller, run.is_inferred) == (first.call_id, True)


def test_all_kinds_of_links_are_told_by_something():
    told = {"continue", "rewrite", "spawn", "join", "retry"}
    assert {kind.value for kind in LinkKind} == told
