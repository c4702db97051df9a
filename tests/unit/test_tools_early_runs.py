"""Tool calls that run before their agent asks, and the calls that join them."""

import asyncio

import msgspec
import pytest
from tests.unit.tool_runs_world import EARLY, READ, WRITE, World, text, tool

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.messages import How, Step, Void, WhyNotEarly
from turnwise.tools_gateway.runs.rule import NotEarly

LOOK = tool("look", EARLY)
TOOLS = [LOOK, tool("read", READ), tool("write", WRITE)]


def virtually(scenario, tools=TOOLS, **limits):
    async def main():
        async with World(tools, **limits) as world:
            return world, await scenario(world)

    return run_virtual(main())


def test_a_marked_tool_runs_when_its_arguments_close_and_the_agent_joins_the_run():
    async def scenario(world):
        world.write("look", {"n": 1, "s": 2.0})
        await asyncio.sleep(1.5)
        world.settle()
        before = world.loop.time()
        result = await world.call("look", {"s": 2.0, "n": 1})
        return result, world.loop.time() - before

    world, (result, waited) = virtually(scenario)
    assert text(result) == "1"
    assert waited == pytest.approx(0.5)
    assert len(world.upstreams.asked) == 1
    assert world.steps() == [Step.ANNOUNCED, Step.QUEUED, Step.STARTED, Step.STARTED, Step.FINISHED]
    assert world.last().how is How.EARLY
    assert world.last().claimed_at == 1.5
    assert world.forecaster.observed == [("look", 2.0, "success")]


def test_a_held_result_waits_for_the_clean_end_of_its_turn():
    async def scenario(world):
        world.write("look", {"s": 1.0})
        await asyncio.sleep(2)
        calling = world.asking("look", {"s": 1.0})
        await asyncio.sleep(1.5)
        was_done = calling.done()
        world.settle()
        return was_done, await calling, world.loop.time()

    _, (was_done, result, at) = virtually(scenario)
    assert not was_done
    assert text(result) == "1"
    assert at == 3.5


def test_a_void_turn_cancels_its_run_and_the_agent_that_asks_gets_one_of_its_own():
    async def scenario(world):
        world.write("look", {"s": 5.0})
        await asyncio.sleep(1)
        calling = world.asking("look", {"s": 5.0})
        await asyncio.sleep(1)
        world.settle(why=Void.LENGTH)
        return await calling

    world, result = virtually(scenario)
    assert text(result) == "2"
    assert [ask.fate for ask in world.upstreams.asked] == ["cancelled", "answered"]
    assert world.audit.of("voided") == [("r0", "length")]
    assert world.steps()[-1] is Step.VOID
    assert [fate for _, _, fate in world.forecaster.observed] == ["success"]
    assert world.meter.early == [Void.LENGTH]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda world: world.settle(why=Void.FILTERED),
        lambda world: world.void(),
        lambda world: world.runs.disconnected("proxy"),
        lambda world: world.announce("look", id="another"),
        lambda world: world.fill({"n": 2}),
        lambda world: world.fill(b"{"),
    ],
)
def test_a_result_that_is_held_for_a_call_that_turns_out_void_is_never_given_out(spoil):
    async def scenario(world):
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        spoil(world)
        world.settle()
        return await world.call("look", {"n": 1})

    world, result = virtually(scenario)
    assert text(result) == "2"
    assert len(world.audit.of("voided")) == 1
    assert world.forecaster.observed == [("look", 1.0, "success")]


def test_an_unmarked_tool_is_prepared_and_not_run_before_the_agent_asks():
    async def scenario(world):
        world.write("write", {"n": 1})
        world.write("read", {"n": 1}, index=1)
        await asyncio.sleep(1)
        world.settle()
        await asyncio.sleep(1)
        num_asked = len(world.upstreams.asked)
        await world.call("write", {"n": 1})
        return num_asked

    world, num_asked = virtually(scenario)
    assert num_asked == 0
    assert len(world.upstreams.prepared) == 2
    assert world.steps() == [Step.ANNOUNCED, Step.QUEUED, Step.STARTED, Step.FINISHED]
    assert world.last().how is How.ASKED
    assert world.audit.of("decided") == [("r0", "write", "", "asked", "t")]


@pytest.mark.parametrize(
    ("fields", "marks", "why"),
    [
        ({"not_early": WhyNotEarly.SEVERAL_CHOICES}, {}, NotEarly.FORBIDDEN),
        ({"is_tainted": True}, {"is_open_world": True}, NotEarly.TAINTED),
        ({}, {"is_read_only": False}, NotEarly.UNMARKED),
        ({}, {"is_idempotent": False}, NotEarly.UNMARKED),
        ({}, {"is_early": False}, NotEarly.UNMARKED),
    ],
)
def test_no_tool_runs_early_against_its_marks_or_the_proxys_word(fields, marks, why):
    async def scenario(world):
        world.write("look", {"n": 1}, **fields)
        await asyncio.sleep(2)

    world, _ = virtually(scenario, [tool("look", msgspec.structs.replace(EARLY, **marks))])
    assert world.upstreams.asked == []
    assert world.meter.waits == [why]


@pytest.mark.parametrize("first", ["write", "nobody_knows_it"])
def test_an_early_read_waits_behind_a_call_that_may_have_side_effects(first):
    async def scenario(world):
        world.write(first, {"n": 1})
        world.write("look", {"n": 2}, index=1)
        await asyncio.sleep(2)
        world.settle()
        return await world.call("look", {"n": 2})

    world, result = virtually(scenario)
    assert text(result) == "1"
    assert world.last(index=1).how is How.ASKED


def test_an_early_read_waits_where_a_call_before_it_was_void_or_never_told_of():
    async def scenario(world):
        world.write("write", {"n": 1})
        world.void()
        world.write("look", {"n": 2}, index=1)
        world.write("look", {"n": 3}, "other", index=1)
        await asyncio.sleep(2)

    world, _ = virtually(scenario)
    assert world.upstreams.asked == []
    assert world.meter.waits[1:] == [NotEarly.ORDER] * 2


def test_reads_that_follow_reads_run_side_by_side():
    async def scenario(world):
        world.write("read", {"n": 0})
        for index in (1, 2):
            world.write("look", {"n": index}, index=index)
        await asyncio.sleep(0.5)
        return world.runs.loads()[LOOK.key].running

    assert virtually(scenario)[1] == 2


def test_empty_arguments_run_early_only_where_the_tool_takes_none():
    async def scenario(world):
        world.write("look", {})
        world.write("plain", {}, index=1)
        await asyncio.sleep(0.5)
        return [ask.tool for ask in world.upstreams.asked]

    tools = [LOOK, tool("plain", EARLY, schema={"type": "object"})]
    assert virtually(scenario, tools)[1] == ["plain"]


def test_a_call_that_is_told_of_again_runs_once_whoever_tells():
    async def scenario(world):
        for source in ("proxy", "proxy", "another"):
            world.announce("look", source=source)
            world.fill({"n": 1, "s": 1}, source=source)
            world.fill(b'{"s":1,"n":1}', source=source)
        await asyncio.sleep(2)
        world.settle()
        await world.call("look", {"n": 1, "s": 1})
        world.announce("look", source="another")
        world.fill({"n": 1, "s": 1}, source="another")
        await asyncio.sleep(2)

    world, _ = virtually(scenario)
    assert len(world.upstreams.asked) == 1


def test_another_proxy_neither_settles_nor_voids_a_turn():
    async def scenario(world):
        world.write("look", {"n": 1})
        calling = world.asking("look", {"n": 1})
        await asyncio.sleep(2)
        world.settle(source="another")
        world.settle(why=Void.BROKEN, source="another")
        world.runs.disconnected("another")
        await asyncio.sleep(0.5)
        was_done = calling.done()
        world.settle()
        return was_done, text(await calling)

    assert virtually(scenario)[1] == (False, "1")
