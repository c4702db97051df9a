"""What one caller's own client was asked for in the midst of a call is nobody else's, whatever the operator marked."""

import asyncio

import msgspec
import pytest
from tests.unit.tool_runs_world import SHARED, World, tool

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.values import Caller, Fate, Fault, ToolFault

ABLE = Caller(capabilities={"elicitation": {}})
NONE = Caller()
ASK = tool("ask", msgspec.structs.replace(SHARED, ttl_s=60.0))


def answering(words):
    async def answer(method, params):
        assert method == "elicitation/create"
        await asyncio.sleep(1)
        return {"content": words}

    return answer


async def asks(ask):
    """A tool that gives back what its user says, and says so where it has none."""
    if ask.answer is None:
        return {"content": "nobody"}
    return {"content": (await ask.answer("elicitation/create", {}))["content"]}


async def keeps_to_itself(ask):
    return {"content": "the same for all"}


def contents(scenario, tells=asks):
    async def main():
        async with World([ASK]) as world:
            world.upstreams.answers["ask"] = [tells]
            return world, [result["content"] for result in await scenario(world)]

    return run_virtual(main())


def test_an_answer_of_one_client_is_not_remembered_for_others():
    async def scenario(world):
        first = await world.call("ask", answer=answering("alice's"), caller=ABLE)
        return first, await world.call("ask")

    world, given = contents(scenario)
    assert given == ["alice's", "nobody"]
    assert world.forecaster.observed == [("ask", 1.0, "success")]


@pytest.mark.parametrize("caller", [ABLE, NONE])
def test_an_answer_of_one_client_is_not_shared_with_those_who_wait(caller):
    async def scenario(world):
        first = world.asking("ask", answer=answering("alice's"), caller=caller)
        await asyncio.sleep(0.5)
        second = world.asking("ask", answer=answering("bob's"), caller=caller)
        await asyncio.sleep(0)
        return await asyncio.gather(first, second, world.call("ask"))

    world, given = contents(scenario)
    assert given == ["alice's", "bob's", "nobody"]
    assert len(world.upstreams.asked) == 3


def test_a_call_whose_client_can_be_asked_neither_takes_nor_gives_a_run():
    async def scenario(world):
        calls = [world.asking("ask", answer=answering("unasked"), caller=ABLE) for _ in range(2)]
        await asyncio.sleep(0)
        return await asyncio.gather(*calls, world.call("ask"), world.call("ask"))

    world, given = contents(scenario, keeps_to_itself)
    assert set(given) == {"the same for all"}
    assert [how for _, _, _, how, _ in world.audit.of("decided")] == ["asked", "asked", "asked", "shared"]


def test_a_result_for_which_no_client_was_asked_serves_equal_calls():
    async def scenario(world):
        first = await world.call("ask", answer=answering("unasked"), caller=ABLE)
        return first, await world.call("ask", answer=answering("unasked"), caller=ABLE)

    world, given = contents(scenario, keeps_to_itself)
    assert given == ["the same for all"] * 2
    assert [called.fate for called in world.meter.calls] == [Fate.SUCCESS] * 2
    assert len(world.upstreams.asked) == 1


def test_what_an_upstream_asks_of_a_client_is_held_to_what_its_results_are():
    heard = []

    async def answer(method, params):
        heard.append(params)
        return {"content": "alice's"}

    async def asks_much(ask):
        with pytest.raises(ToolFault, match="too large"):
            await ask.answer("elicitation/create", {"isHuge": True})
        return await ask.answer("elicitation/create", {"message": "Who?"})

    async def scenario(world):
        return [await world.call("ask", answer=answer, caller=ABLE)]

    _, given = contents(scenario, asks_much)
    assert given == ["alice's"]
    assert heard == [{"message": "Who?", "_meta": {"untrusted": True}}]


def test_what_an_upstream_refuses_with_is_held_to_it_too():
    async def main():
        async with World([ASK]) as world:
            world.upstreams.answers["ask"] = [ToolFault(Fault.UPSTREAM_REFUSED, "no", {"code": -1, "message": "no"})]
            return await world.fault("ask")

    fault = run_virtual(main())
    assert (fault.fault, fault.message, fault.error) == (Fault.UPSTREAM_REFUSED, "clean no", {"code": -1, "message": "no"})
