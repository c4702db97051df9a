"""Single flight and memory, for tools that the operator marked so and no others; and what tenants never share."""

import asyncio

import msgspec
import pytest
from tests.unit.tool_runs_world import EARLY, MEMORY, READ, SHARED, World, text, tool

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.messages import How, Void
from turnwise.tools_gateway.runs.memory import ENTRY_BYTES, Memory
from turnwise.tools_gateway.values import PLAIN, Caller, Fate, Fault, ToolFault

BOTH = msgspec.structs.replace(SHARED, is_early=True, ttl_s=60.0)
TOOLS = [tool("read", READ), tool("shared", SHARED), tool("memory", MEMORY), tool("look", EARLY), tool("both", BOTH)]
GOES_ON = Caller(request_state="x")


def virtually(scenario, tools=TOOLS, **limits):
    async def main():
        async with World(tools, **limits) as world:
            return world, await scenario(world)

    return run_virtual(main())


def num(world, name):
    return sum(ask.tool == name for ask in world.upstreams.asked)


def test_equal_calls_under_way_share_one_run_and_its_very_result():
    async def scenario(world):
        first = world.asking("shared", {"n": 1, "s": 1.0})
        await asyncio.sleep(0.5)
        return await asyncio.gather(first, world.call("shared", {"s": 1.0, "n": 1}), world.call("shared", {"n": 2}))

    world, (first, second, other) = virtually(scenario)
    assert first is second
    assert other is not first
    assert len(world.upstreams.asked) == 2
    assert len(world.forecaster.observed) == 2
    assert [how for _, _, _, how, _ in world.audit.of("decided")] == ["asked", "shared", "asked"]
    shared = next(called for called in world.meter.calls if called.how is How.SHARED)
    assert (shared.queued_s, shared.run_s, shared.saved_s) == (None, None, 0.5)


@pytest.mark.parametrize("name", ["read", "memory", "look"])
def test_calls_of_other_tools_share_no_run(name):
    async def scenario(world):
        await asyncio.gather(*(world.call(name, {"n": 1}) for _ in range(2)))

    assert num(virtually(scenario)[0], name) == 2


def test_one_that_leaves_takes_nothing_from_the_others_and_the_last_one_cancels():
    async def scenario(world):
        calls = [world.asking("shared", {"s": 5.0}) for _ in range(3)]
        await asyncio.sleep(1)
        calls[0].cancel()
        await asyncio.sleep(1)
        fate = world.upstreams.asked[0].fate
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await asyncio.sleep(1)
        late = world.asking("shared", {"s": 5.0})
        await asyncio.sleep(1)
        late.cancel()
        return fate

    world, fate = virtually(scenario)
    assert fate == "running"
    assert [ask.fate for ask in world.upstreams.asked] == ["cancelled", "cancelled"]
    assert world.upstreams.asked[0].ended_at == 2.0


def test_the_first_one_may_leave_and_the_others_get_the_result():
    async def scenario(world):
        first, second = (world.asking("shared", {"s": 5.0}) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        return text(await second)

    assert virtually(scenario)[1] == "1"


def test_each_hears_of_progress_under_its_own_token():
    heard = []

    async def ticking(ask):
        await ask.notify("notifications/progress", {"progress": 1, "progressToken": "upstream's"})
        return {"content": []}

    def hearing(name):
        async def hear(method, params):
            heard.append((name, params["progressToken"]))

        return hear

    async def scenario(world):
        world.upstreams.answers["shared"] = [ticking]
        await asyncio.gather(
            *(world.call("shared", meta={"progressToken": f"{name}'s"}, notify=hearing(name)) for name in ("a", "b")),
            world.call("shared", notify=hearing("silent")),
        )

    virtually(scenario)
    assert heard == [("a", "a's"), ("b", "b's")]


def test_a_fault_of_a_shared_run_is_everybodys_and_each_raises_its_own():
    async def scenario(world):
        world.upstreams.answers["shared"] = [ToolFault(Fault.UPSTREAM_BROKE, "gone")]
        return await asyncio.gather(*(world.call("shared") for _ in range(2)), return_exceptions=True)

    _, (first, second) = virtually(scenario)
    assert first.fault is second.fault is Fault.UPSTREAM_BROKE
    assert first is not second


@pytest.mark.parametrize(
    "answer",
    [{"resultType": "input_required", "requestState": "x"}, ToolFault(Fault.UPSTREAM_REFUSED, "no", {"code": -32021})],
)
def test_what_hangs_on_one_client_is_not_shared(answer):
    async def scenario(world):
        async def slow(ask):
            if isinstance(answer, ToolFault):
                raise answer
            return answer

        world.upstreams.answers["shared"] = [slow]
        return await asyncio.gather(*(world.call("shared") for _ in range(3)), return_exceptions=True)

    world, results = virtually(scenario)
    assert len(world.upstreams.asked) == 3
    assert len({id(result) for result in results}) == 3
    assert world.forecaster.observed == []


def test_a_call_that_goes_on_with_another_has_a_run_of_its_own():
    async def scenario(world):
        world.write("look", {"n": 1})
        world.settle()
        calls = [world.call(name, {"n": 1}, caller=caller) for name in ("both", "look") for caller in (GOES_ON, PLAIN)]
        await asyncio.gather(*calls)
        await asyncio.gather(*(world.call("both", {"n": 1}, caller=GOES_ON) for _ in range(2)))

    world, _ = virtually(scenario)
    assert num(world, "both") == 4
    assert num(world, "look") == 2


def test_a_result_serves_equal_calls_while_it_is_good():
    async def scenario(world):
        results = [await world.call("memory", {"n": 1})]
        await asyncio.sleep(59)
        results.append(await world.call("memory", {"n": 1}))
        await asyncio.sleep(2)
        results.append(await world.call("memory", {"n": 1}))
        return results

    world, (first, second, third) = virtually(scenario)
    assert first is second
    assert third is not first
    assert world.forecaster.observed == [("memory", 1.0, "success")] * 2
    assert [how for _, _, _, how, _ in world.audit.of("decided")] == ["asked", "remembered", "asked"]
    assert [called.saved_s for called in world.meter.calls] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "answer",
    [{"isError": True}, {"resultType": "input_required"}, ToolFault(Fault.UPSTREAM_BROKE, "gone")],
)
def test_only_good_results_are_remembered(answer):
    async def scenario(world):
        world.upstreams.answers["memory"] = [answer, {"content": []}]
        await asyncio.gather(world.call("memory"), return_exceptions=True)
        return await world.call("memory")

    assert virtually(scenario)[1]["content"] == []


def test_no_other_tool_is_remembered():
    async def scenario(world):
        return [text(await world.call("read")) for _ in range(2)], world.runs.memory_bytes()

    assert virtually(scenario)[1] == (["1", "2"], 0)


def test_a_void_result_is_never_remembered_and_a_claimed_one_is():
    async def scenario(world):
        world.write("both", {"n": 1}, "void")
        world.write("both", {"n": 2}, "clean")
        await asyncio.sleep(2)
        world.settle("void", Void.LENGTH)
        world.settle("clean")
        before = world.runs.memory_bytes()
        await world.call("both", {"n": 2})
        return before, [text(await world.call("both", {"n": number})) for number in (2, 1)]

    _, (before, results) = virtually(scenario)
    assert before == 0
    assert results[1] == "3"
    assert results[0] in {"1", "2"}


def test_nothing_runs_early_whose_result_is_remembered():
    async def scenario(world):
        await world.call("both", {"n": 1})
        world.write("both", {"n": 1})
        await asyncio.sleep(2)
        world.settle()
        return text(await world.call("both", {"n": 1}))

    world, result = virtually(scenario)
    assert result == "1"
    assert world.last().how is How.REMEMBERED
    assert len(world.upstreams.asked) == 1


def test_equal_early_calls_of_two_turns_share_a_run_and_one_void_turn_takes_nothing_from_the_other():
    async def scenario(world):
        world.write("both", {"n": 1, "s": 4}, "a")
        world.write("both", {"n": 1, "s": 4}, "b")
        await asyncio.sleep(1)
        world.settle("a", Void.LENGTH)
        world.settle("b")
        return text(await world.call("both", {"n": 1, "s": 4}))

    world, result = virtually(scenario)
    assert result == "1"
    assert [ask.fate for ask in world.upstreams.asked] == ["answered"]
    assert world.audit.of("voided") == [("r0", "length")]
    assert [fate for _, _, fate in world.forecaster.observed] == ["success"]


def test_an_agent_may_share_an_early_run_whose_own_turn_turns_out_void():
    async def scenario(world):
        world.write("both", {"n": 1, "s": 4}, "a")
        await asyncio.sleep(1)
        world.runs._announcements._turns._by_key.clear()
        calling = world.asking("both", {"n": 1, "s": 4})
        await asyncio.sleep(1)
        world.settle("a", Void.LENGTH)
        return text(await calling)

    world, result = virtually(scenario)
    assert result == "1"
    assert world.forecaster.observed == [("both", 4, "success")]


def test_memory_drops_the_least_used_and_never_passes_its_bound():
    memory = Memory(8 * (ENTRY_BYTES + 1000))
    for number in range(100):
        memory.put(number, {"x": "y" * 900}, 1.0, 100.0)
        assert memory.get(0, 1.0) is not None
        assert memory.num_bytes <= 8 * (ENTRY_BYTES + 1000)
    assert len(memory) == 8
    assert memory.get(99, 1.0) is not None
    assert memory.get(50, 1.0) is None


def test_memory_takes_nothing_that_would_push_out_too_much_and_forgets_what_is_old():
    memory = Memory(4000)
    memory.put("big", {"x": "y" * 3000}, 1.0, 100.0)
    memory.put("small", {}, 1.0, 5.0)
    memory.put("small", {}, 1.0, 10.0)
    assert len(memory) == 1
    memory.expire(10.0)
    assert (len(memory), memory.num_bytes) == (0, 0)


def test_cancelled_calls_are_counted_as_such():
    async def scenario(world):
        calling = world.asking("shared")
        await asyncio.sleep(0.5)
        calling.cancel()
        await asyncio.wait([calling])
        return world.meter.calls[-1].fate

    assert virtually(scenario)[1] is Fate.CANCELLED
