"""Agents whose equal calls meet the announcements of siblings, whose turns go on."""

import asyncio

import pytest
from tests.unit.tool_runs_world import EARLY, World, text, tool

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.messages import How, Step, Void
from turnwise.tools_gateway.runs.announcements import VERDICT_S
from turnwise.tools_gateway.values import AnnouncementEnd

LOOK = tool("look", EARLY)


def virtually(scenario, **limits):
    async def main():
        async with World([LOOK], **limits) as world:
            return world, await scenario(world)

    return run_virtual(main())


async def asked_during_a_siblings_turn(world):
    """When the result came of a call of a second that meets a result held for a turn that goes on."""
    world.write("look", {"n": 1})
    await asyncio.sleep(1.5)
    before = world.loop.time()
    result = await world.call("look", {"n": 1})
    return text(result), world.loop.time() - before


def test_a_call_that_nobody_announced_does_not_wait_for_the_end_of_a_siblings_turn():
    _, (result, waited) = virtually(asked_during_a_siblings_turn)
    assert (result, waited) == ("2", pytest.approx(VERDICT_S + 1.0))


def test_a_call_that_leaves_an_announcement_to_another_bears_its_own_trace():
    async def scenario(world):
        world.write("look", {"n": 1}, traceparent="a-sibling's")
        await asyncio.sleep(1.5)
        await world.call("look", {"n": 1})
        return [ask.request.params.get("_meta") for ask in world.upstreams.asked]

    assert virtually(scenario)[1] == [{"traceparent": "a-sibling's"}, None]


def test_what_one_agent_leaves_its_own_agent_gets():
    async def scenario(world):
        await asked_during_a_siblings_turn(world)
        world.settle()
        return text(await world.call("look", {"n": 1}))

    world, result = virtually(scenario)
    assert result == "1"
    assert len(world.upstreams.asked) == 2
    assert world.last().how is How.EARLY
    assert world.last().claimed_at == 4.5
    assert world.meter.ends == [AnnouncementEnd.CLAIMED]
    assert world.audit.of("voided") == []


def test_what_one_agent_leaves_is_void_with_its_turn():
    async def scenario(world):
        await asked_during_a_siblings_turn(world)
        world.settle(why=Void.LENGTH)
        return text(await world.call("look", {"n": 1}))

    world, result = virtually(scenario)
    assert result == "3"
    assert world.last().step is Step.VOID
    assert world.meter.ends == [AnnouncementEnd.VOID]
    assert world.audit.of("voided") == [("r0", "length")]


def test_what_one_agent_leaves_is_held_within_the_bound():
    async def scenario(world):
        world.upstreams.answers["look"] = [{"content": "x" * 600}]
        world.write("look", {"n": 1})
        await asyncio.sleep(1.5)
        calling = world.asking("look", {"n": 1})
        await asyncio.sleep(0.1)
        world.write("look", {"n": 2}, "other")
        await calling
        world.settle()
        world.settle("other")
        for number in (1, 2):
            await world.call("look", {"n": number})
        return [ask.arguments["n"] for ask in world.upstreams.asked]

    assert virtually(scenario, max_held_bytes=1000)[1] == [1, 2, 1, 1]


def test_a_run_under_way_is_waited_for_and_a_moment_longer():
    async def scenario(world):
        world.write("look", {"s": 5.0})
        calling = world.asking("look", {"s": 5.0})
        await asyncio.sleep(5.0 + VERDICT_S - 0.1)
        world.settle()
        return text(await calling)

    assert virtually(scenario)[1] == "1"


def test_an_agent_that_leaves_while_it_waits_for_a_turn_leaves_nothing_behind():
    async def scenario(world):
        world.write("look", {"n": 1})
        await asyncio.sleep(1.5)
        calling = world.asking("look", {"n": 1})
        await asyncio.sleep(1)
        calling.cancel()
        await asyncio.wait([calling])
        world.settle()

    world, _ = virtually(scenario)
    assert world.meter.ends == [AnnouncementEnd.CLAIMED]
    assert len(world.upstreams.asked) == 1
