"""Edges of what runs early, is shared, held or remembered: each of these has one line of the code, and only that."""

import asyncio

import msgspec
import pytest
from tests.unit.tool_runs_world import EARLY, SHARED, World, text, tool

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.messages import Announced, How, Step
from turnwise.tools_gateway.runs.budget import Budget
from turnwise.tools_gateway.runs.memory import ENTRY_BYTES, Memory, weight
from turnwise.tools_gateway.runs.rule import NotEarly
from turnwise.tools_gateway.runs.turns import MAX_CALLS, Turns
from turnwise.tools_gateway.values import AnnouncementEnd, Caller, Fault, Principal, ToolFault

LOOK = tool("look", EARLY)
TOOLS = [LOOK, tool("shared", SHARED), tool("both", msgspec.structs.replace(SHARED, is_early=True, ttl_s=60.0))]


def virtually(scenario, **limits):
    async def main():
        async with World(TOOLS, **limits) as world:
            return world, await scenario(world)

    return run_virtual(main())


@pytest.mark.parametrize(("limits", "num_asked"), [({"max_tenant_running": 1}, 0), ({"max_running": 1}, 0), ({}, 1)])
def test_a_tenant_or_upstream_that_runs_one_at_a_time_leaves_that_slot_to_those_who_ask(limits, num_asked):
    async def scenario(world):
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        return len(world.upstreams.asked)

    world, asked = virtually(scenario, **limits)
    assert asked == num_asked
    assert world.meter.waits == [NotEarly.SLOTS] * (1 - num_asked)


def test_a_fault_that_is_not_the_tools_is_held_for_nobody():
    async def scenario(world):
        world.upstreams.answers["look"] = [ToolFault(Fault.QUEUE_FULL, "busy"), {"content": "fine"}]
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        held = world.runs._budget._held.total()
        world.settle()
        return held, (await world.call("look", {"n": 1}))["content"]

    world, (held, result) = virtually(scenario)
    assert (held, result) == (0, "fine")
    assert [how for _, _, _, how, _ in world.audit.of("decided")] == ["early", "asked"]
    assert world.last().how is How.ASKED


@pytest.mark.parametrize("num_steps", range(6))
def test_nobody_shares_a_run_that_its_last_caller_has_just_left(num_steps):
    async def scenario(world):
        first = world.asking("shared", {"s": 5.0})
        await asyncio.sleep(1)
        first.cancel()
        # Its run is cancelled some steps of the loop later, and has ended some steps behind that.
        for _ in range(num_steps):
            await asyncio.sleep(0)
        return text(await world.call("shared", {"s": 5.0}))

    world, result = virtually(scenario)
    assert result == str(len(world.upstreams.asked))
    assert world.upstreams.asked[-1].fate == "answered"


def told(turn="t", index=0):
    return Announced(turn, index, "look", "id", 0.0, "")


@pytest.mark.parametrize("index", [-1, MAX_CALLS])
def test_a_place_that_no_turn_has_is_none(index):
    turns = Turns()
    assert turns.announce("proxy", told(), Principal(""), 0.0) is not None
    assert turns.announce("proxy", told(index=index), Principal(""), 0.0) is None
    assert list(turns.find_turn("proxy", "t").announcements) == [0]


def test_a_turn_that_has_ended_takes_no_further_call():
    turns = Turns()
    announcement = turns.announce("proxy", told(), Principal(""), 0.0)
    announcement.turn.settled_at = 1.0
    assert turns.announce("proxy", told(index=1), Principal(""), 0.0) is None
    assert list(announcement.turn.announcements) == [0]


def test_a_turn_takes_no_call_of_another_proxy():
    turns = Turns()
    announcement = turns.announce("proxy", told(), Principal("a"), 0.0)
    assert turns.announce("another", told(index=1), Principal("b"), 0.0) is None
    assert [each.principal.tenant for each in announcement.turn.announcements.values()] == ["a"]


def test_what_another_tenants_proxy_adds_to_a_turn_never_runs():
    async def scenario(world):
        world.write("look", {"n": 1}, tenant="proxy-a")
        world.announce("look", index=1, tenant="proxy-b", source="another")
        world.fill({"n": 2}, index=1, source="another")
        world.fill({"n": 2}, index=1)
        await asyncio.sleep(2)
        return [ask.arguments["n"] for ask in world.upstreams.asked]

    world, asked = virtually(scenario, tenants=("a", "b"))
    assert asked == [1]
    assert world.meter.ends[0] is AnnouncementEnd.DROPPED


def test_nothing_begins_while_results_that_wait_take_all_their_room():
    budget = Budget(max_early=2, max_held_bytes=100)
    assert budget.hold("a", 99)
    assert budget.has_room("a")
    assert budget.hold("a", 1)
    assert not budget.has_room("a")
    assert budget.has_room("b")
    budget.release("a", 1)
    assert budget.has_room("a")


@pytest.mark.parametrize(("more", "is_kept"), [(0, True), (-1, False)])
def test_a_result_of_more_than_a_quarter_of_the_bound_is_not_remembered(more, is_kept):
    result = {"x": "y" * 900}
    memory = Memory(4 * (weight(result) + ENTRY_BYTES) + more)
    memory.put("key", result, 1.0, 100.0)
    assert (memory.get("key", 0.0) is not None) is is_kept


def test_a_run_that_ends_badly_is_told_so():
    async def scenario(world):
        world.upstreams.answers["look"] = [{"isError": True, "content": []}, {"content": []}]
        for turn in ("bad", "good"):
            world.write("look", {"n": 1}, turn)
            await asyncio.sleep(2)

    world, _ = virtually(scenario)
    assert [told.is_ok for told in world.told["bad", 0] if told.step is Step.FINISHED] == [False]
    assert [told.is_ok for told in world.told["good", 0] if told.step is Step.FINISHED] == [True]


def test_what_a_call_that_goes_on_comes_to_is_not_remembered():
    async def scenario(world):
        await world.call("both", {"n": 1}, caller=Caller(request_state="x"))
        assert world.runs.memory_bytes() == 0
        return text(await world.call("both", {"n": 1}))

    assert virtually(scenario)[1] == "2"
