"""How long programs live, how many there are, and what is kept of them."""

import gc
import sys
import types

import msgspec
import pytest
from tests.unit.agents import World, calls, links, result, says, user

from turnwise.proxy.programs.population import AT_ONCE, BEHIND_S, KEPT_ENDED, SETTLES_WITHIN_S, TOLD_CALLS_AT_ONCE, UNTOLD
from turnwise.proxy.programs.shares import Shares
from turnwise.proxy.programs.values import Basis, EngineTimes, Outcome
from turnwise.types import CallId, ProgramId, Usage

GO = user("Look at the folder and say what is in it.")
LS = calls(("call_1", "ls"))
DONE = says("There are two files.")


def tenant(name: str, **more: str) -> dict:
    return {"authorization": name, **more}


def test_a_program_ends_a_quiet_period_after_its_final_answer():
    world = World(quiet_s=60.0)
    turn = world.call(GO, answer=DONE)
    assert world.programs.sweep(world.now + 59.0) == []
    (ended,) = world.programs.sweep(world.now + 60.0)
    assert (ended.key, ended.outcome, len(ended.calls), ended.ended_at) == (turn.key, Outcome.ANSWERED, 1, world.now)
    assert world.programs.sweep(world.now + 1e6) == []


def test_a_program_that_waits_for_a_tool_ends_by_age():
    world = World(quiet_s=60.0, max_age_s=3600.0)
    world.call(GO, answer=LS)
    assert world.programs.sweep(world.now + 3599.0) == []
    (ended,) = world.programs.sweep(world.now + 3600.0)
    assert ended.outcome is Outcome.AGE


def test_a_program_does_not_end_while_a_call_of_it_runs():
    world = World(quiet_s=60.0, max_age_s=3600.0)
    turn = world.begin(GO)
    assert world.programs.sweep(world.now + 1e6) == []
    world.now += 1e6
    world.end(turn, DONE)
    assert world.programs.sweep(world.now + 59.0) == []
    assert len(world.programs.sweep(world.now + 60.0)) == 1


def test_what_happens_to_a_program_puts_its_end_off():
    world = World(quiet_s=60.0)
    world.call(GO, answer=DONE, headers={"x-turnwise-program": "p"})
    world.now += 50
    world.call(user("More."), answer=DONE, headers={"x-turnwise-program": "p"})
    assert world.programs.sweep(world.now + 59.0) == []
    assert len(world.programs.sweep(world.now + 60.0)) == 1


def test_a_sweep_does_a_bounded_amount_of_work_until_nothing_is_left():
    world = World()
    for number in range(2 * AT_ONCE + 5):
        world.call(user(f"Task {number}."), answer=DONE)
    told = []
    while ended := world.programs.sweep(world.now + 1e6):
        assert len(ended) <= AT_ONCE
        told += ended
    assert not world.programs.has_due(world.now + 1e6)
    assert len({one.key.id for one in told}) == len(told) == 2 * AT_ONCE + 5


@pytest.mark.parametrize(("late_s", "times"), [(0.0, 1), (1.1 * BEHIND_S, 2), (3.1 * BEHIND_S, 4)])
def test_a_sweep_takes_few_programs_while_none_is_late_and_more_the_later_they_are(late_s, times):
    world = World(quiet_s=60.0)
    for number in range(8 * TOLD_CALLS_AT_ONCE):
        world.now = 0.0
        world.call(user(f"Task {number}."), answer=DONE)
    due = world.now + 60.0
    assert len(world.programs.sweep(due + late_s)) == times * TOLD_CALLS_AT_ONCE
    assert world.programs.has_due(due)


def test_what_had_to_make_room_cannot_outrun_what_is_told_of():
    world = World(max_programs=1, quiet_s=1e6)
    for number in range(8 * UNTOLD):
        world.call(user(f"Task {number}."), answer=DONE)
        if number % (2 * TOLD_CALLS_AT_ONCE) == 0:  # twice as many have ended as a sweep takes while none waits
            world.programs.sweep(world.now)
    assert len(world.programs._population._untold) < 2 * UNTOLD + 2 * TOLD_CALLS_AT_ONCE


def test_past_the_bound_the_least_recently_used_program_ends():
    world = World(max_programs=3)
    turns = [world.call(user(f"Task {number}."), answer=LS) for number in range(3)]
    world.call(user("Task 0."), LS, result("call_1"), answer=LS)
    world.call(user("Task 3."), answer=LS)
    (ended,) = world.programs.sweep(world.now)
    assert (ended.key.id, ended.outcome) == (turns[1].key.id, Outcome.EVICTED)
    assert world.programs.stats.live == 3


def test_a_program_that_has_its_answer_goes_before_one_that_goes_on_and_one_whose_calls_run_goes_last():
    world = World(max_programs=3)
    running = world.begin(user("Task 0."))
    waiting = world.call(user("Task 1."), answer=LS)
    answered = world.call(user("Task 2."), answer=DONE)
    for number, gone in enumerate((answered, waiting), 3):
        assert world.programs.summary(gone.key.id, world.now).outcome is Outcome.OPEN
        world.begin(user(f"Task {number}."))
        assert world.programs.summary(gone.key.id, world.now).outcome is Outcome.EVICTED
    world.begin(user("Task 5."))
    assert world.programs.summary(running.key.id, world.now).outcome is Outcome.EVICTED


def test_a_flood_of_one_tenant_ends_its_own_programs_and_no_other_tenants():
    world = World(max_programs=500, max_age_s=1e9)
    mine = [world.call(user(f"Mine {number}."), answer=LS, headers=tenant("mine")) for number in range(100)]
    for number in range(10_000):
        world.begin(GO, headers=tenant("flood", **{"x-turnwise-program": f"id-{number}"}))
    assert world.programs.stats.live == 500
    live = {row.id for row in world.programs.listing(world.now) if row.outcome is Outcome.OPEN}
    assert {turn.key.id for turn in mine} <= live
    next_ = world.begin(user("Mine 7."), LS, result("call_1"), headers=tenant("mine"))
    assert next_.key is mine[7].key
    known = len(world.programs.listing(world.now))
    assert known <= 500 + KEPT_ENDED
    gone = 0
    while ended := world.programs.sweep(world.now + SETTLES_WITHIN_S):
        gone += len(ended)
        assert {one.outcome for one in ended} == {Outcome.EVICTED}
    assert gone == 10_000 - 400 == world.programs.stats.ended[Outcome.EVICTED]


def test_a_flood_of_tenants_leaves_nothing_behind_of_those_that_are_gone():
    world = World(max_programs=50)
    for number in range(2000):
        world.call(GO, answer=DONE, headers=tenant(f"tenant {number}"))
    population = world.programs._population
    assert len(population._tenants) <= 50 + KEPT_ENDED
    assert len(population._programs) == 50 + KEPT_ENDED
    assert len(population._times) <= 1024 + 2 * 50


def test_what_is_forgotten_is_followed_no_longer():
    world = World(max_programs=1)
    world.call(GO, answer=LS)
    for number in range(KEPT_ENDED + 2):
        world.call(user(f"Task {number}."), answer=LS)
    assert links(world.begin(GO, LS, result("call_1"))) == []
    for turn in [world.begin(user("Task 1."), LS, result("call_1"))]:
        assert turn.basis is Basis.NEW
    world.programs.close(world.now)
    lineage = next(iter(world.programs._population._tenants.values())).lineage
    kept = sum(len(line.nodes) for program in world.programs._population.known() for line in program.lines)
    assert len(lineage._by_prompt) == kept <= KEPT_ENDED


def test_what_is_forgotten_is_freed_though_the_collector_does_not_look_at_it():
    world = World(max_programs=1)
    name = {"x-turnwise-program": "p", "x-turnwise-agent": "main"}
    asked = calls(("call_1", "agent"), prompt="Find out what is in the folder here.")
    key = world.call(GO, answer=asked, headers=name).key
    world.call(user("Find out what is in the folder here."), answer=DONE, headers={**name, "x-turnwise-agent": "other"})
    world.call(GO, asked, result("call_1"), answer=DONE, headers=name)
    world.call(GO, answer=DONE, headers=name)
    assert world.programs.listing(world.now)[0].agents > 1
    num_before = sys.getrefcount(key)
    for number in range(KEPT_ENDED + 1):
        world.call(user(f"Task {number}."), answer=DONE)
        world.programs.sweep(world.now)
    assert world.programs.find("p") == ()
    nobody_elses = object()
    assert sys.getrefcount(key) == sys.getrefcount(nobody_elses) < num_before  # how many a name counts for, Python decides


def test_a_program_of_too_many_calls_ends_and_goes_on_as_its_next_part():
    world = World(max_calls=16)
    turns, programs = [GO], []
    for number in range(40):
        answer = calls((f"call_{number}", "ls"))
        turn = world.call(*turns, answer=answer, headers={"x-turnwise-program": "long"} if number % 2 else None)
        turns += [answer, result(f"call_{number}")]
        if turn.key not in programs:
            programs.append(turn.key)
    long = [key for key in programs if key.name == "long"]
    assert [(key.epoch, key.follows) for key in long[1:]] == [(n + 1, key.id) for n, key in enumerate(long[:-1])]
    assert len(long) == 3
    assert all(len(world.programs.calls(key.id)[1]) <= 16 for key in programs)


def test_all_programs_end_as_the_proxy_stops():
    world = World()
    one, two = world.call(GO, answer=DONE), world.begin(user("Else."))
    world.programs.end(one.key.id, world.now)
    assert [(ended.key.id, ended.outcome) for ended in world.programs.close(world.now)] == [
        (one.key.id, Outcome.ASKED),
        (two.key.id, Outcome.SHUTDOWN),
    ]
    assert world.programs.close(world.now) == []
    assert world.end(two, DONE).is_final


def test_the_list_has_live_and_ended_programs_the_most_recently_used_first():
    world = World()
    first = world.call(GO, answer=LS, headers={"x-turnwise-program": "named", "x-session-id": "s"})
    second = world.call(user("Else."), answer=DONE)
    world.programs.end(second.key.id, world.now)
    world.call(GO, LS, result("call_1"), answer=LS)
    rows = world.programs.listing(world.now)
    assert [(row.id, row.outcome, row.calls, row.waiting) for row in rows] == [
        (first.key.id, Outcome.OPEN, 2, 1),
        (second.key.id, Outcome.ASKED, 1, 0),
    ]
    assert [world.programs.summary(row.id, world.now) for row in rows] == rows
    assert world.programs.summary(ProgramId("nobody"), world.now) is None
    assert (rows[0].name, rows[0].session, rows[0].tools, rows[0].agents) == ("named", "s", 2, 1)


def test_a_program_is_found_by_id_or_name_and_not_by_nothing():
    world = World()
    turn = world.call(GO, answer=LS, headers={"x-turnwise-program": "goal"})
    assert world.programs.find("goal") == world.programs.find(turn.key.id) == (turn.key,)
    assert world.programs.find("") == world.programs.find("nobody") == ()
    assert world.programs.calls(ProgramId("nobody")) is None
    assert not world.programs.end(ProgramId("nobody"), world.now)


def test_a_name_means_the_live_program_of_it_and_all_where_several_tenants_have_one():
    world = World()
    mine, yours = (world.call(GO, answer=LS, headers=tenant(key, **{"x-turnwise-program": "goal"})).key for key in "ab")
    assert set(world.programs.find("goal")) == {mine, yours}
    assert world.programs.find("goal", yours.tenant) == world.programs.find(yours.id, yours.tenant) == (yours,)
    assert world.programs.find("goal", "nobody") == world.programs.find(mine.id, yours.tenant) == ()
    world.programs.end(yours.id, world.now)
    assert world.programs.find("goal") == (mine,)
    world.programs.end(mine.id, world.now)
    assert world.programs.find("goal") == (yours,)


def test_what_an_engine_tells_of_a_call_stands_in_its_record():
    world = World()
    turn = world.call(GO, answer=DONE)
    times = EngineTimes(0.1, 0.2, 0.3)
    assert world.programs.engine_times(turn.key.id, turn.call_id, times)
    ((call,),) = world.programs.calls(turn.key.id)[1:]
    assert call.engine == times
    assert not world.programs.engine_times(ProgramId("nobody"), turn.call_id, times)


def test_counts_tell_by_what_calls_were_told_and_how_programs_ended():
    world = World()
    first = world.call(GO, answer=LS, headers={"x-turnwise-program": "x" * 200})
    world.call(GO, LS, result("call_1"), answer=DONE)
    world.programs.end(first.key.id, world.now)
    stats = world.programs.stats
    assert (stats.live, stats.calls[Basis.NEW], stats.calls[Basis.LINEAGE], stats.ended[Outcome.ASKED]) == (0, 1, 1, 1)
    assert sum(stats.ignored.values()) == 1


def test_no_words_of_anybody_are_kept():
    world = World()
    secret = "xyzzy plugh nothing happens"
    answer = calls(("call_1", "agent"), text=secret, prompt=f"{secret} and more of it")
    world.call(user(secret), answer=answer, headers=tenant(f"Bearer {secret}"))
    world.call(user(secret), answer, result("call_1", secret), answer=says(secret), headers=tenant(f"Bearer {secret}"))
    world.programs.take_retired()  # what waits to be put into graphs is put there, as it is every second
    seen, waiting = set(), [world.programs]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType):
            continue
        seen.add(id(one))
        if isinstance(one, str | bytes | bytearray):
            assert b"xyzzy" not in (one.encode() if isinstance(one, str) else bytes(one))
        dialects = world.programs._dialects
        waiting += [other for other in gc.get_referents(one) if other is not dialects]
        waiting += [getattr(one, name, None) for name in getattr(type(one), "__struct_fields__", ())]
    assert len(seen) > 50


@pytest.mark.parametrize("count", [1, 5])
def test_shares_know_who_has_most(count):
    shares = Shares()
    for _ in range(count):
        shares.add("a")
    assert shares.largest == "a"
    for _ in range(count + 1):
        shares.add("b")
    assert (shares.largest, shares.total) == ("b", 2 * count + 1)
    for _ in range(count + 1):
        shares.remove("b")
    assert (shares.largest, shares.total) == ("a", count)
    with pytest.raises(KeyError):
        shares.remove("b")
    for _ in range(count):
        shares.remove("a")
    with pytest.raises(KeyError):
        _ = shares.largest


def test_a_program_of_which_no_call_found_a_replica_ends_a_quiet_period_after_it():
    world = World(quiet_s=60.0, max_age_s=3600.0)
    turn = world.begin(GO, model="nobody-serves-this")
    world.programs.drop(turn, "unknown_model", world.now)
    assert world.programs.sweep(world.now + 59.0) == []
    (ended,) = world.programs.sweep(world.now + 60.0)
    assert (ended.key, ended.outcome, len(ended.calls)) == (turn.key, Outcome.AGE, 1)


def test_a_program_goes_on_where_one_of_its_calls_found_no_replica():
    world = World(quiet_s=60.0, max_age_s=3600.0)
    named = {"x-turnwise-program": "p"}
    world.call(GO, answer=LS, headers=named)
    world.programs.drop(world.begin(user("More."), headers=named), "queue_full", world.now)
    assert world.programs.sweep(world.now + 3599.0) == []


def test_of_what_clients_and_engines_name_a_bounded_part_is_kept():
    world = World()
    long = "x" * 100_000
    turn = world.begin(GO, model=long)
    call = world.end(turn, calls(("call_1", long), (long, "ls")), status=200)
    assert call.model == long[:256]
    assert [(tool.id, tool.name) for tool in call.tools] == [("call_1", long[:256]), ("", "ls")]
    dropped = world.programs.drop(world.begin(user("Other."), model=long), "unknown_model", world.now)
    assert dropped.model == long[:256]


@pytest.mark.parametrize("count", [10**30, -(10**30)])
def test_a_count_that_cannot_be_written_down_is_left_out(count):
    world = World()
    usage = Usage(count, count, count)
    call = world.end(world.begin(GO, max_tokens=count), DONE, usage=usage)
    told = (call.max_tokens, call.prompt_tokens, call.completion_tokens, call.cached_tokens)
    assert told == (None, 0, None, None)
    assert world.programs.drop(world.begin(user("Other."), max_tokens=count), "unknown_model", world.now).max_tokens is None


@pytest.mark.parametrize("count", [2**63, -(2**63)])
def test_one_count_that_cannot_be_written_down_leaves_the_others(count):
    world = World()
    told = []
    for number, usage in enumerate((Usage(count, 3, 5), Usage(100, count, 5), Usage(100, 3, count), Usage(2**63 - 1, 3, None))):
        call = world.end(world.begin(user(f"Task {number}.")), DONE, usage=usage)
        told.append((call.prompt_tokens, call.completion_tokens, call.cached_tokens))
    assert told == [(0, 3, 5), (100, None, 5), (100, 3, None), (2**63 - 1, 3, None)]


def test_state_is_known_by_an_id_but_by_no_text_of_any_length():
    world = World()
    known, unknown = "resp_" + "1" * 40, "r" * 257
    turn = world.begin(GO)
    world.programs.drop(turn, "unknown_model", world.now)
    for state, kept in ((known, "=" + known), (unknown, "")):
        request = msgspec.structs.replace(turn.request, call_id=CallId(state), continues=(state,))
        assert world.programs.begin(request, {b"x-turnwise-program": b"p"}, world.now).node.stored_as == kept
