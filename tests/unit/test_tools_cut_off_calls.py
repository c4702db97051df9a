"""The times of calls that came to nothing, as the audit and the metrics are told."""

import asyncio

import pytest
from tests.unit.tool_runs_world import EARLY, SHARED, World, tool

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.messages import How
from turnwise.tools_gateway.values import Fate, Fault, ToolFault

TOOLS = [tool("look", EARLY), tool("shared", SHARED)]


def virtually(scenario, **limits):
    async def main():
        async with World(TOOLS, **limits) as world:
            return world, await scenario(world)

    return run_virtual(main())


async def leave(call, after_s):
    await asyncio.sleep(after_s)
    call.cancel()
    await asyncio.wait([call])


def cut_off(world):
    """How, and after how many seconds of its run, the last call was cut off."""
    called = world.meter.calls[-1]
    assert called.fate is Fate.CANCELLED
    return called.how, called.run_s


def test_a_call_that_is_cancelled_took_as_long_as_it_ran():
    async def scenario(world):
        await leave(world.asking("shared", {"s": 9.0}), 2.0)

    world, _ = virtually(scenario)
    assert cut_off(world) == (How.ASKED, 2.0)
    assert world.audit.seconds == [2.0]


def test_a_call_that_is_cancelled_while_it_waits_for_its_turn_ran_not_at_all():
    async def scenario(world):
        other = world.asking("shared", {"s": 9.0})
        await leave(world.asking("shared", {"s": 8.0}), 2.0)
        seen = cut_off(world)
        other.cancel()
        return seen

    world, seen = virtually(scenario, max_running=1)
    assert seen == (How.ASKED, None)
    assert world.audit.seconds[0] == 0.0


def test_a_joined_call_that_is_cancelled_took_as_long_as_its_run_had_run():
    async def scenario(world):
        world.write("look", {"s": 9.0})
        world.settle()
        await asyncio.sleep(1)
        await leave(world.asking("look", {"s": 9.0}), 2.0)

    world, _ = virtually(scenario)
    assert cut_off(world) == (How.EARLY, 3.0)
    assert world.audit.seconds == [3.0, 3.0]


def test_a_sharing_call_that_is_cancelled_is_written_with_the_time_of_the_run_it_shared():
    async def scenario(world):
        first = world.asking("shared", {"s": 9.0})
        await asyncio.sleep(1)
        await leave(world.asking("shared", {"s": 9.0}), 2.0)
        seen = cut_off(world)
        await first
        return seen

    world, seen = virtually(scenario)
    assert seen == (How.SHARED, None)
    assert world.audit.seconds == [3.0, 9.0]


def test_a_joined_call_that_goes_on_with_a_run_of_its_own_is_written_with_the_time_it_waited_for():
    async def scenario(world):
        world.write("look", {"n": 1})
        await asyncio.sleep(1.5)
        await world.call("look", {"n": 1})

    world, _ = virtually(scenario)
    assert world.audit.of("decided")[1][3] == "joined"
    assert world.audit.seconds[:3] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("fault", [Fault.UPSTREAM_DOWN, Fault.UPSTREAM_BROKE])
def test_a_call_of_an_upstream_that_is_down_counts_among_no_run_times(fault):
    async def scenario(world):
        world.upstreams.answers["shared"] = [ToolFault(fault, "no")]
        await world.fault("shared")

    world, _ = virtually(scenario)
    (called,) = world.meter.calls
    assert called.fault is fault
    assert called.run_s == (None if fault is Fault.UPSTREAM_DOWN else 0.0)
