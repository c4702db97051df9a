"""Which program a call belongs to: names, traces, sessions and the boundary between two goals."""

import pytest
from tests.unit.agents import World, calls, links, result, says, user
from tests.unit.captured_programs import replay

from turnwise.proxy.programs.joined import Joined
from turnwise.proxy.programs.population import KEPT_ENDED
from turnwise.proxy.programs.values import Basis, Outcome
from turnwise.settings import TraceSettings

GO = user("Look at the folder and say what is in it.")
LS = calls(("call_1", "ls"))
DONE = says("There are two files.")
NEXT = user("And now count their lines.")
TRACE, SPAN, OTHER_TRACE = "7086d6786c09fa5f1b4b836284833701", "945e8cf907538955", "0123456789abcdef0123456789abcdef"


def sampled(trace: str = TRACE, span: str = SPAN, flags: str = "01", **more: str) -> dict:
    return {"traceparent": f"00-{trace}-{span}-{flags}", **more}


def named(name: str, **more: str) -> dict:
    return {"x-turnwise-program": name, **more}


def in_session(session: str, **more: str) -> dict:
    return {"x-session-id": session, **more}


def outcomes(world: World) -> list[Outcome]:
    return [ended.outcome for ended in world.programs.sweep(world.now)]


def test_a_users_words_after_a_final_answer_begin_the_next_program():
    world = World()
    first = world.call(GO, answer=DONE)
    second = world.begin(GO, DONE, NEXT)
    assert second.key.id != first.key.id
    assert (second.key.follows, second.key.follows_trace, second.basis) == (first.key.id, first.key.trace_id, Basis.LINEAGE)
    (link,) = second.links
    assert (link.kind.value, link.call_id, link.program, link.trace_id) == (
        "continue", first.call_id, first.key.id, first.key.trace_id,
    )  # fmt: skip
    assert outcomes(world) == [Outcome.ANSWERED]


def test_what_is_no_users_word_goes_on_with_the_same_goal():
    world = World()
    first = world.call(GO, answer=LS)
    assert world.begin(GO, LS, result("call_1")).key is first.key
    assert world.begin(GO, LS, result("call_1"), user("Hurry.")).key is first.key


def test_a_program_in_which_another_call_runs_is_not_at_its_goal():
    world = World()
    first = world.call(GO, answer=DONE, headers=in_session("s"))
    world.begin(user("A title, please."), headers=in_session("s"))
    assert world.begin(GO, DONE, NEXT).key.id != first.key.id  # the title began a program of its own
    world = World()
    first = world.begin(GO, headers=in_session("s"))
    side = world.begin(user("A title, please."), headers=in_session("s"))
    world.end(first, DONE)
    assert side.key is first.key is world.begin(GO, DONE, NEXT, headers=in_session("s")).key


def test_a_program_in_which_a_tool_call_waits_is_not_at_its_goal():
    world = World()
    first = world.call(GO, answer=LS, headers=in_session("s"))
    side = world.call(user("A title, please."), answer=says("Folder."), headers=in_session("s"))
    another = world.begin(user("A title, please."), says("Folder."), user("Shorter."), headers=in_session("s"))
    assert side.key is another.key is first.key


def test_an_agent_that_calls_tools_in_text_goes_on_from_its_text():
    world = World()
    first = world.begin(GO, stop=["Observation:"])
    call = world.end(first, says("Action: ls"))
    assert not call.is_final
    assert world.begin(GO, says("Action: ls"), user("Observation: two files"), stop=["Observation:"]).key is first.key


def test_a_tool_that_gives_the_final_answer_ends_a_goal():
    world = World(final_answer_tools=("finish",))
    first = world.begin(GO, stop=["Observation:"])
    answer = calls(("call_1", "finish"))
    assert world.end(first, answer).is_final
    (row,) = world.programs.listing(world.now)
    assert row.waiting == 0
    assert world.begin(GO, answer, result("call_1"), NEXT).key.follows == first.key.id


def test_an_answer_that_calls_another_tool_too_is_not_final():
    world = World()
    assert not world.end(world.begin(GO), calls(("call_1", "final_answer"), ("call_2", "ls"))).is_final
    assert not world.end(world.begin(NEXT), DONE, status=500).is_final


def test_a_name_goes_before_all_else_and_the_prompt_still_tells_what_is_gone_on_from():
    world = World()
    first = world.call(GO, answer=LS, headers=named("a", **sampled(OTHER_TRACE), **in_session("s")))
    other = world.begin(GO, LS, result("call_1"), headers=named("b", **in_session("s")))
    assert (first.key.name, other.key.name) == ("a", "b")
    assert (other.basis, links(other)) == (Basis.NAMED, [("continue", first.call_id)])
    assert other.links[0].program == other.key.follows == first.key.id
    assert other.key.epoch == 0
    assert world.begin(user("Any."), headers=named("a")).key is first.key


def test_ids_of_a_named_program_are_those_that_any_proxy_makes():
    one, other = (World().begin(GO, headers=named("goal", authorization="k")).key for _ in range(2))
    assert (one.id, one.trace_id, one.root_span) == (other.id, other.trace_id, other.root_span)
    assert one.id == one.root_span.hex()
    assert World().begin(GO, headers=named("goal", authorization="other")).key.id != one.id


def test_ids_of_a_traced_program_are_those_that_any_proxy_makes():
    one, other = (World().begin(GO, headers=sampled(span=span)).key for span in (SPAN, "1" * 16))
    assert one.id == other.id
    assert World().begin(GO).key.id != World().begin(GO).key.id


def test_a_name_whose_program_has_ended_names_its_next_part():
    world = World()
    first = world.call(GO, answer=DONE, headers=named("goal"))
    assert world.programs.end(first.key.id, world.now)
    second = world.begin(NEXT, headers=named("goal")).key
    assert (second.name, second.epoch, second.follows) == ("goal", 1, first.key.id)
    assert second.id != first.key.id
    assert world.programs.find("goal") == (second,)


def test_one_name_means_another_program_to_another_tenant():
    world = World()
    mine = world.begin(GO, headers=named("goal", authorization="mine", **in_session("s")))
    yours = world.begin(GO, headers=named("goal", authorization="yours", **in_session("s")))
    theirs = world.begin(NEXT, headers=in_session("s", authorization="theirs"))
    assert len({turn.key.id for turn in (mine, yours, theirs)}) == 3
    assert len({turn.key.tenant for turn in (mine, yours, theirs)}) == 3
    assert (theirs.basis, theirs.key.follows) == (Basis.NEW, None)


def test_a_client_cannot_name_its_program_as_one_of_ours_is_seeded():
    world = World()
    first = world.begin(GO)
    other = world.begin(NEXT, headers=named(first.call_id))
    assert (other.key.id != first.key.id, other.key.epoch) == (True, 0)


def test_lineage_goes_before_an_inbound_trace_which_is_linked():
    world = World()
    first = world.call(GO, answer=LS, headers=sampled())
    second = world.begin(GO, LS, result("call_1"), headers=sampled(OTHER_TRACE, "1" * 16, "03"))
    assert (second.key, second.basis) == (first.key, Basis.LINEAGE)
    assert second.client_trace.hex() == OTHER_TRACE + "1" * 16
    assert first.client_trace is None
    assert world.end(second, DONE).client_trace == second.client_trace


def test_a_trace_that_is_not_sampled_tells_nothing_but_that_nobody_wants_spans():
    world = World()
    first = world.call(GO, answer=LS, headers=sampled(flags="00"))
    other = world.begin(NEXT, headers=sampled(flags="02"))
    assert (other.key.id != first.key.id, first.basis, first.client_trace) == (True, Basis.NEW, None)
    assert (first.key.is_sampled, first.key.parent_span) == (False, None)
    assert first.key.trace_id.hex() != TRACE


def test_the_users_next_words_within_one_trace_are_of_one_goal():
    world = World()
    first = world.call(GO, answer=DONE, headers=sampled())
    assert world.begin(GO, DONE, NEXT, headers=sampled(span="2" * 16)).key is first.key
    world.programs.end(first.key.id, world.now)
    later = world.begin(user("Later."), headers=sampled(span="3" * 16))
    assert (later.basis, later.key.follows, later.key.trace_id) == (Basis.TRACE, first.key.id, first.key.trace_id)


def test_a_clients_trace_is_joined_or_linked_as_is_set():
    joined = World().begin(GO, headers=sampled())
    assert (joined.key.trace_id.hex(), joined.key.parent_span.hex(), joined.client_trace) == (TRACE, SPAN, None)
    world = World(TraceSettings(join_client=False))
    linked = world.begin(GO, headers=sampled())
    assert (linked.key.trace_id.hex() != TRACE, linked.key.parent_span, linked.client_trace.hex()) == (True, None, TRACE + SPAN)
    assert world.begin(NEXT, headers=sampled(span="2" * 16)).key is linked.key


def test_a_clients_trace_is_joined_for_the_first_tenant_that_brings_it_and_linked_for_others():
    world = World(max_programs=1)
    mine, yours = (world.call(GO, answer=LS, headers=sampled(authorization=key)) for key in ("mine", "yours"))
    assert (mine.key.trace_id.hex(), mine.client_trace) == (TRACE, None)
    assert (yours.key.trace_id.hex() != TRACE, yours.key.parent_span) == (True, None)
    assert (yours.client_trace.hex(), yours.key.is_sampled) == (TRACE + SPAN, True)
    assert world.call(GO, LS, result("call_1"), answer=DONE, headers=sampled(authorization="yours")).key is yours.key
    again = world.call(NEXT, answer=DONE, headers=sampled(authorization="mine"))
    assert (again.key.trace_id, again.key.follows) == (mine.key.trace_id, mine.key.id)


def test_whose_a_trace_is_is_known_as_long_as_a_program_in_it():
    world = World(max_programs=1)
    for _ in range(2):
        turn = world.call(GO, answer=DONE, headers=sampled(authorization="mine"))
        world.programs.end(turn.key.id, world.now)
    for number in range(KEPT_ENDED - 1):
        world.call(user(f"Task {number}."), answer=LS, headers={"authorization": "mine"})
    yours = [world.call(GO, answer=DONE, headers=sampled(authorization="yours")).key]
    for number in range(2):
        world.call(user(f"More {number}."), answer=LS, headers={"authorization": "mine"})
    world.programs.end(yours[0].id, world.now)
    yours.append(world.call(GO, answer=DONE, headers=sampled(authorization="theirs")).key)
    assert [key.trace_id.hex() == TRACE for key in yours] == [False, True]
    assert len(world.programs._population.joined) == 1


def test_one_trace_that_two_workers_joined_for_two_tenants_at_once_is_forgotten_with_their_programs():
    mine, yours = (World().begin(GO, headers=sampled(authorization=key)).program for key in ("mine", "yours"))
    joined = Joined()
    for program in (mine, yours):
        joined.add(program)
    assert not joined.is_open_to(yours.key.tenant, yours.key.trace_id)
    for program in (mine, yours):
        joined.remove(program)
        assert joined.is_open_to(yours.key.tenant, yours.key.trace_id)
    assert len(joined) == 0


@pytest.mark.parametrize(("ratio", "is_sampled"), [(0.0, False), (1.0, True)])
def test_which_programs_are_traced_is_a_setting_and_a_clients_decision_goes_before_it(ratio, is_sampled):
    traces = TraceSettings(sample_ratio=ratio)
    assert World(traces).begin(GO).key.is_sampled is is_sampled
    assert World(traces).begin(GO, headers=sampled()).key.is_sampled
    assert not World(traces).begin(GO, headers=sampled(flags="00")).key.is_sampled


def test_a_sessions_call_that_nothing_else_is_known_of_is_of_its_live_program():
    world = World()
    first = world.call(GO, answer=LS, headers=in_session("s"))
    side = world.begin(user("A title, please."), headers=in_session("s"))
    assert (side.key, side.basis, side.agent) == (first.key, Basis.SESSION, 1)


def test_a_session_whose_program_has_given_its_answer_begins_the_next():
    world = World()
    first = world.call(GO, answer=DONE, headers=in_session("s"))
    second = world.begin(NEXT, headers=in_session("s"))
    assert (second.key.follows, second.key.session, second.basis) == (first.key.id, "s", Basis.SESSION)


def test_an_agent_that_its_client_names_is_one_conversation_whatever_its_prompt():
    world = World()
    world.call(GO, answer=LS, headers=in_session("s"))
    agent = in_session("s", **{"x-claude-code-agent-id": "a1"})
    turns = [world.call(user(f"Part {number}."), answer=LS, headers=agent) for number in range(2)]
    assert [(turn.agent, turn.number, turn.agent_name) for turn in turns] == [(1, 0, "a1"), (1, 1, "a1")]


def test_what_a_named_agent_asked_for_long_ago_is_waited_for_no_longer():
    world = World()
    agent = {"x-turnwise-program": "p", "x-turnwise-agent": "a"}
    for number in range(4):
        turn = world.call(user(f"Part {number}."), answer=calls((f"call_{number}", "ls")), headers=agent)
    row = world.programs.summary(turn.key.id, world.now)
    assert (row.calls, row.agents, row.waiting) == (4, 1, 2)


def test_a_sub_agent_with_a_session_of_its_own_is_of_its_parents_program():
    world = World()
    first = world.call(GO, answer=LS, headers=in_session("parent"))
    child = in_session("child", **{"x-parent-session-id": "parent"})
    one = world.call(user("Part."), answer=LS, headers=child)
    two = world.begin(user("Part, once more."), headers=in_session("child"))
    assert one.key is two.key is first.key
    stranger = world.begin(user("Else."), headers=in_session("c2", **{"x-parent-session-id": "nobody"}))
    assert (stranger.basis, stranger.key.session) == (Basis.NEW, "c2")


def test_a_cache_key_and_a_user_id_of_a_body_name_a_session():
    world = World()
    first = world.call(GO, answer=LS, prompt_cache_key="k")
    side = world.begin(NEXT, prompt_cache_key="k", system={"role": "system", "content": "You make titles."})
    assert (side.key, first.key.session) == (first.key, "k")


def test_conversations_that_begin_alike_under_one_cache_key_are_not_mixed():
    world = World()
    key = {"prompt_cache_key": "app"}
    one = world.call(user("One."), answer=DONE, **key)
    two = world.call(user("Two."), answer=LS, **key)
    three = world.begin(user("Three."), **key)
    goes_on = world.begin(user("One."), DONE, NEXT, **key)
    assert len({turn.key.id for turn in (one, two, three, goes_on)}) == 4
    assert {turn.key.session for turn in (one, two, three, goes_on)} == {"app"}
    assert [turn.key.follows for turn in (two, three, goes_on)] == [one.key.id, None, one.key.id]


def test_what_goes_on_after_a_program_ended_is_its_next_part_and_the_first_of_them_for_all():
    world = World()
    both = calls(("call_1", "agent"), ("call_2", "agent"), prompt="Count the lines of every file in the folder.")
    first = world.call(GO, answer=both, headers=in_session("s"))
    world.call(user("Count the lines of every file in the folder."), answer=LS)
    world.programs.end(first.key.id, world.now)
    one = world.begin(GO, both, result("call_1"), result("call_2"))
    other = world.begin(user("Count the lines of every file in the folder."), LS, result("call_1"))
    assert one.key is other.key
    assert (one.key.follows, one.key.session) == (first.key.id, "s")


def test_calls_in_flight_as_their_program_ends_are_recorded_in_it():
    world = World()
    running = world.begin(GO)
    assert world.programs.end(running.key.id, world.now)
    assert not world.programs.end(running.key.id, world.now)
    call = world.end(running, LS)
    assert world.programs.calls(running.key.id) == (running.key, (call,))
    assert world.begin(GO, LS, result("call_1")).key.follows == running.key.id


def response(seq: int, text: str, **members) -> dict:
    """A captured row of the responses API, ten seconds after the one before."""
    times = {"t_arrive_s": 10.0 * seq, "t_done_s": 10.0 * seq + 1}
    return {"seq": seq, "path": "/v1/responses", "headers": {}, "body": {"model": "m", "input": text, **members}} | times


def test_a_stored_answer_is_gone_on_from_by_its_id_and_so_is_a_conversation():
    replayed = replay(
        [
            response(0, "Begin."),
            response(1, "Go on.", previous_response_id="resp_a"),
            response(2, "Otherwise.", previous_response_id="resp_a"),
            response(3, "Talk.", conversation="conv_1"),
            response(4, "More.", conversation="conv_1"),
            response(5, "And more.", conversation="conv_1"),
            response(6, "Strange.", previous_response_id="resp_of_somebody"),
            response(7, "Unstored.", store=False),
        ]
    )
    # The last call before one that names an answer is taken to have given it: 0 gave `resp_a`, and so did 1.
    assert replayed.edges() == {(0, 1, "continue"), (1, 2, "continue"), (3, 4, "continue"), (4, 5, "continue")}


def test_an_answer_that_is_not_stored_is_not_gone_on_from_by_its_id():
    rows = [response(0, "Begin.", store=False), response(1, "Go on.", previous_response_id="resp_a")]
    assert replay(rows).edges() == set()
