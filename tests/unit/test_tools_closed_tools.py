"""A tool that is closed between a call's first word and its start is not asked any more."""

import asyncio

import msgspec
import pytest
from tests.unit.tool_runs_world import EARLY, WRITE, World, text, tool

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.messages import Step
from turnwise.tools_gateway.values import Fault, ToolState

LOOK = tool("look", EARLY)
CLOSED = msgspec.structs.replace(LOOK, state=ToolState.DRIFTED, why="its definition changed")


def virtually(scenario, tools=(LOOK,), **limits):
    async def main():
        async with World(tools, **limits) as world:
            return world, await scenario(world)

    return run_virtual(main())


def close(world, how):
    if how is None:
        del world.registry.known["look"]
    else:
        world.registry.known["look"] = how


@pytest.mark.parametrize("how", [CLOSED, None])
def test_a_tool_that_is_closed_while_the_model_writes_does_not_run_early(how):
    async def scenario(world):
        world.announce("look")
        close(world, how)
        world.fill({"n": 1})
        await asyncio.sleep(2)
        world.settle()
        return await world.fault("look", {"n": 1})

    world, fault = virtually(scenario)
    assert world.upstreams.asked == []
    assert world.steps() == [Step.ANNOUNCED, Step.VOID]
    assert fault.fault in {Fault.NOT_ALLOWED, Fault.UNKNOWN_TOOL}


def test_what_the_operator_says_of_a_tool_counts_as_of_the_end_of_its_arguments():
    async def scenario(world):
        world.announce("look")
        world.registry.known["look"] = tool("look", WRITE)
        world.fill({"n": 1})
        await asyncio.sleep(2)
        return len(world.upstreams.asked)

    assert virtually(scenario)[1] == 0


@pytest.mark.parametrize("how", [CLOSED, None])
def test_a_call_that_waits_for_its_turn_while_its_tool_is_closed_is_refused(how):
    async def scenario(world):
        first, second = world.asking("look", {"s": 5.0}), world.asking("look", {"s": 6.0})
        await asyncio.sleep(1)
        close(world, how)
        return await asyncio.gather(first, second, return_exceptions=True)

    world, (result, fault) = virtually(scenario, max_running=1)
    assert text(result) == "1"
    assert fault.fault is Fault.NOT_ALLOWED
    assert len(world.upstreams.asked) == 1


def test_an_agent_gets_a_run_of_its_own_where_the_tool_was_open_again_when_it_asked():
    async def scenario(world):
        world.write("look", {"n": 1})
        close(world, CLOSED)
        await asyncio.sleep(1)
        close(world, LOOK)
        world.settle()
        return text(await world.call("look", {"n": 1}))

    assert virtually(scenario)[1] == "1"


def test_a_run_that_an_agent_begins_after_it_has_waited_for_another_looks_at_the_tool_again():
    async def scenario(world):
        world.write("look", {"s": 3.0})
        calling = world.asking("look", {"s": 3.0})
        await asyncio.sleep(1)
        close(world, CLOSED)
        world.void()
        return await asyncio.gather(calling, return_exceptions=True)

    world, (fault,) = virtually(scenario)
    assert fault.fault is Fault.NOT_ALLOWED
    assert len(world.upstreams.asked) == 1
