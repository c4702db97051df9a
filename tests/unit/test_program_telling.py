"""When a program that has ended is told of: whole, once, and not before its calls."""

from tests.unit.agents import World, says, user

from turnwise.proxy.programs.population import SETTLES_WITHIN_S
from turnwise.proxy.programs.values import Outcome

GO = user("Look at the folder and say what is in it.")
DONE = says("There are two files.")


def told(world: World, after_s: float = 0.0) -> list[tuple[str, Outcome, int]]:
    """Programs told of, how they ended, and how many calls they had."""
    return [(ended.key.id, ended.outcome, len(ended.calls)) for ended in world.programs.sweep(world.now + after_s)]


def test_a_program_that_is_ended_while_calls_run_is_told_of_with_the_last_of_them():
    world = World()
    one = world.begin(GO, headers={"x-turnwise-program": "p"})
    other = world.begin(user("Else."), headers={"x-turnwise-program": "p"})
    world.programs.end(one.key.id, world.now)
    assert told(world) == []
    world.end(one, DONE)
    assert told(world) == []
    world.programs.drop(other, "queue_full", world.now)
    assert told(world) == [(one.key.id, Outcome.ASKED, 2)]
    assert told(world) == []


def test_a_program_that_goes_to_make_room_while_a_call_runs_is_told_of_with_that_call():
    world = World(max_programs=1)
    first = world.begin(GO)
    world.begin(user("Else."))
    assert told(world) == []
    world.end(first, DONE)
    assert told(world) == [(first.key.id, Outcome.EVICTED, 1)]


def test_a_call_that_does_not_end_is_not_waited_for_without_end():
    world = World()
    turn = world.begin(GO)
    world.programs.end(turn.key.id, world.now)
    assert told(world, SETTLES_WITHIN_S - 1) == []
    assert told(world, SETTLES_WITHIN_S) == [(turn.key.id, Outcome.ASKED, 0)]
    world.end(turn, DONE)
    assert told(world) == []


def test_what_still_runs_as_the_proxy_stops_is_told_of_once():
    world = World()
    turn = world.begin(GO)
    world.programs.end(turn.key.id, world.now)
    assert [(ended.key.id, ended.outcome) for ended in world.programs.close(world.now)] == [(turn.key.id, Outcome.ASKED)]
    world.end(turn, DONE)
    assert told(world) == []


def test_prompts_of_a_program_are_given_up_once_no_call_of_it_runs():
    world = World()
    turn = world.begin(GO)
    world.programs.end(turn.key.id, world.now)
    told(world)
    assert world.programs.take_retired() == []
    world.end(turn, DONE)
    told(world)
    assert world.programs.take_retired() != []
