"""Calls of agents that nobody announced: what is refused, how long they may take, what is written and learned of them."""

import asyncio

import msgspec
import pytest
from tests.unit.tool_runs_world import EARLY, READ, WRITE, World, text, tool

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.messages import How
from turnwise.tools_gateway.values import Caller, Fate, Fault, ToolFault, ToolState

DOWN = ToolFault(Fault.UPSTREAM_DOWN, "It is not connected.")
TOOLS = [
    tool("up__read", READ),
    tool("up__write", WRITE),
    tool("up__new", READ, state=ToolState.QUARANTINED, why="nobody has approved it"),
]


def virtually(scenario, tools=TOOLS, **limits):
    async def main():
        async with World(tools, **limits) as world:
            return world, await scenario(world)

    return run_virtual(main())


async def ticking(ask, count=12, method="notifications/progress"):
    for number in range(count):
        await ask.notify(method, {"progress": number, "progressToken": "the upstream's"})
        await asyncio.sleep(5)
    return {"content": []}


def test_a_call_runs_upstream_under_the_tools_own_name_with_what_its_caller_brings():
    async def scenario(world):
        caller = Caller({"elicitation": {}}, {"a": {}}, "state")
        return await world.call("up__write", {"n": 1}, meta={"traceparent": "tp"}, caller=caller)

    world, result = virtually(scenario)
    (ask,) = world.upstreams.asked
    assert ask.request.params == {
        "name": "up__write",
        "arguments": {"n": 1},
        "inputResponses": {"a": {}},
        "requestState": "state",
        "_meta": {"traceparent": "tp"},
    }
    assert ask.request.capabilities == {"elicitation": {}}
    assert result["_meta"] == {"untrusted": True}
    assert world.audit.records == [
        ("decided", "r0", "up__write", "", "asked", ""),
        ("ended", "r0", "success", None),
    ]
    assert world.forecaster.observed == [("up__write", 1.0, "success")]
    (called,) = world.meter.calls
    assert (called.how, called.fate, called.queued_s, called.run_s) == (How.ASKED, Fate.SUCCESS, 0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "arguments", "fault", "says"),
    [
        ("up__raed", {}, Fault.UNKNOWN_TOOL, "up__read"),
        ("x" * 100_000, {}, Fault.UNKNOWN_TOOL, "100000 characters"),
        ("up__new", {}, Fault.NOT_ALLOWED, "nobody has approved it"),
        ("up__read", {"bad": 1}, Fault.BAD_ARGUMENTS, "bad: must not"),
    ],
)
def test_a_call_that_may_not_be_made_says_why_and_is_written_down(name, arguments, fault, says):
    world, refused = virtually(lambda world: world.fault(name, arguments))
    assert refused.fault is fault
    assert says in refused.message
    assert world.audit.of("refused") == [(name, fault.value)]
    assert world.meter.faults == [fault]
    assert world.upstreams.asked == []


def test_without_an_audit_what_has_side_effects_is_not_called_and_what_only_reads_is():
    async def scenario(world):
        world.audit.can_write = False
        refused = await world.fault("up__write")
        return refused.fault, text(await world.call("up__read"))

    assert virtually(scenario)[1] == (Fault.AUDIT, "1")


def test_a_tool_that_is_silent_ends_at_its_deadline():
    async def scenario(world):
        fault = await world.fault("up__write", {"s": 60})
        return fault, world.loop.time()

    world, (fault, at) = virtually(scenario)
    assert (fault.fault, at) == (Fault.DEADLINE, 10.0)
    assert "may still have its effect" in fault.message
    assert world.upstreams.asked[0].fate == "cancelled"
    assert world.forecaster.observed == [("up__write", 10.0, "timeout")]


def test_progress_extends_a_deadline_and_no_run_outlasts_the_longest():
    async def scenario(world):
        world.upstreams.answers["up__write"] = [ticking]
        world.upstreams.answers["up__read"] = [lambda ask: ticking(ask, 1000)]
        await world.call("up__write")
        at = world.loop.time()
        fault = await world.fault("up__read")
        return at, fault.fault, world.loop.time() - at

    assert virtually(scenario, max_run_s=100)[1] == (61.0, Fault.DEADLINE, 100.0)


def test_other_notifications_extend_nothing():
    async def scenario(world):
        world.upstreams.answers["up__write"] = [lambda ask: ticking(ask, 9, "notifications/message")]
        return (await world.fault("up__write")).fault

    assert virtually(scenario)[1] is Fault.DEADLINE


def test_a_caller_hears_of_progress_under_its_own_token_and_may_fail_to():
    heard = []

    async def hear(method, params):
        heard.append((method, params))
        raise ConnectionError

    async def scenario(world):
        world.upstreams.answers["up__write"] = [lambda ask: ticking(ask, 2)]
        await world.call("up__write", meta={"progressToken": 7}, notify=hear)
        await world.call("up__write", notify=hear)

    virtually(scenario)
    assert heard == [("notifications/progress", {"progress": number, "progressToken": 7}) for number in (0, 1)]


def test_an_idempotent_tool_is_asked_again_where_nothing_was_sent():
    async def scenario(world):
        world.upstreams.answers["up__read"] = [DOWN, DOWN, {"content": []}]
        await world.call("up__read")
        return world.loop.time()

    world, at = virtually(scenario)
    assert at == pytest.approx(1.5)
    assert world.forecaster.observed == [("up__read", 1.0, "success")]


@pytest.mark.parametrize("fault", [Fault.UPSTREAM_BROKE, Fault.UPSTREAM_REFUSED, Fault.DEADLINE, Fault.TOO_LARGE])
def test_nothing_is_asked_again_after_it_was_sent(fault):
    async def scenario(world):
        world.upstreams.answers["up__read"] = [ToolFault(fault, "no")]
        await world.fault("up__read")

    assert len(virtually(scenario)[0].upstreams.asked) == 1


def test_a_tool_that_is_not_idempotent_is_never_asked_again():
    async def scenario(world):
        world.upstreams.answers["up__write"] = [DOWN]
        return (await world.fault("up__write")).fault

    world, fault = virtually(scenario)
    assert fault is Fault.UPSTREAM_DOWN
    assert len(world.upstreams.asked) == 1
    assert world.forecaster.observed == []


def test_fates_are_learned_apart():
    answers = [{"content": []}, {"content": [], "isError": True}, ToolFault(Fault.UPSTREAM_BROKE, "gone")]

    async def scenario(world):
        world.upstreams.answers["up__write"] = list(answers)
        await world.call("up__write")
        await world.call("up__write")
        await world.fault("up__write")
        calling = world.asking("up__write", {"s": 5})
        await asyncio.sleep(0)
        world.upstreams.answers.clear()
        await asyncio.sleep(2)
        calling.cancel()
        await asyncio.wait([calling])

    world, _ = virtually(scenario)
    fates = [fate for _, _, fate in world.forecaster.observed]
    assert fates[:3] == ["success", "error", "fault"]


def test_a_caller_that_leaves_cancels_its_run_which_is_written_and_learned_as_cut_off():
    async def scenario(world):
        calling = world.asking("up__write", {"s": 9})
        await asyncio.sleep(2)
        calling.cancel()
        await asyncio.wait([calling])
        return calling.cancelled()

    world, is_cancelled = virtually(scenario)
    assert is_cancelled
    assert world.upstreams.asked[0].fate == "cancelled"
    assert world.audit.of("ended") == [("r0", "cancelled", "cancelled")]
    assert world.forecaster.observed == [("up__write", 2.0, "cancelled")]


def test_a_caller_that_leaves_at_once_leaves_nothing_behind():
    async def scenario(world):
        calling = world.asking("up__write")
        await asyncio.sleep(0)
        calling.cancel()
        await asyncio.wait([calling])
        await asyncio.sleep(1)

    world, _ = virtually(scenario)
    assert [ask.fate for ask in world.upstreams.asked] == ["cancelled"]


def test_a_fault_within_the_gateway_is_one_that_the_model_can_read(caplog):
    async def broken(ask):
        raise ZeroDivisionError

    async def scenario(world):
        world.upstreams.answers["up__read"] = [broken]
        return await world.fault("up__read")

    world, fault = virtually(scenario)
    assert fault.fault is Fault.BUG
    assert "ZeroDivisionError" in caplog.text
    assert world.forecaster.observed == []


def test_a_result_that_the_guard_refuses_is_a_fault():
    async def scenario(world):
        world.upstreams.answers["up__read"] = [{"isHuge": True}]
        return (await world.fault("up__read")).fault

    assert virtually(scenario)[1] is Fault.TOO_LARGE


def test_time_in_the_queue_counts_and_the_queue_is_bounded():
    one = [tool("up__write", msgspec.structs.replace(WRITE, max_running=1))]

    async def scenario(world):
        world.forecaster.num_samples = 0.0
        calls = [world.asking("up__write", {"s": 6}) for _ in range(4)]
        return [each if isinstance(each, dict) else each.fault for each in await asyncio.gather(*calls, return_exceptions=True)]

    world, results = virtually(scenario, one, max_queued=2)
    assert [result if isinstance(result, Fault) else "ok" for result in results] == [
        "ok",
        Fault.DEADLINE,
        Fault.DEADLINE,
        Fault.QUEUE_FULL,
    ]
    assert len(world.upstreams.asked) == 2


def test_a_call_whose_time_went_by_in_the_queue_is_not_begun_if_it_cannot_end():
    one = [tool("up__write", msgspec.structs.replace(WRITE, max_running=1))]

    async def scenario(world):
        world.forecaster.expected["up__write"] = 9.0
        first = world.asking("up__write", {"s": 6.5})
        await asyncio.sleep(0.5)
        fault = await world.fault("up__write", {"s": 1})
        await first
        return fault, world.loop.time()

    world, (fault, at) = virtually(scenario, one)
    assert (fault.fault, at) == (Fault.DEADLINE, 6.5)
    assert "had no effect" in fault.message
    assert len(world.upstreams.asked) == 1


def test_an_announced_run_is_traced_under_its_announcement_where_the_caller_says_nothing():
    async def scenario(world):
        world.write("up__read", {"n": 1}, traceparent="model's")
        world.write("up__early", {"n": 1}, index=1, traceparent="model's")
        world.settle()
        await world.call("up__read", {"n": 1})
        await world.call("up__read", {"n": 2}, meta={"traceparent": "agent's"})

    world, _ = virtually(scenario, [*TOOLS, tool("up__early", EARLY)])
    metas = {(ask.tool, ask.arguments["n"]): ask.request.params["_meta"] for ask in world.upstreams.asked}
    assert metas == {
        ("up__early", 1): {"traceparent": "model's"},
        ("up__read", 1): {"traceparent": "model's"},
        ("up__read", 2): {"traceparent": "agent's"},
    }
