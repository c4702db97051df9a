"""Whose an early run is: which agent's call takes it, and what becomes of it where that leaves or may fare better."""

import asyncio

import pytest
from tests.unit.test_tools_early_runs import virtually
from tests.unit.tool_runs_world import text

from turnwise.tools_gateway.messages import How, Step, Void
from turnwise.tools_gateway.values import Fault, ToolFault


def test_each_announcement_serves_one_call():
    async def scenario(world):
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        world.settle()
        return [text(await world.call("look", {"n": 1})) for _ in range(2)]

    assert virtually(scenario)[1] == ["1", "2"]


def test_two_agents_that_wait_for_one_turn_get_a_run_each():
    async def scenario(world):
        world.write("look", {"n": 1})
        world.write("read", {"n": 1}, index=1)
        calls = [world.asking("look", {"n": 1}) for _ in range(2)]
        await asyncio.sleep(2)
        world.settle()
        return [text(await call) for call in calls]

    assert virtually(scenario)[1] == ["1", "2"]


def test_equal_announcements_are_claimed_oldest_first_those_of_ended_turns_before_others():
    async def scenario(world):
        for number in range(3):
            world.write("look", {"n": 1}, f"t{number}")
            await asyncio.sleep(1.5)
        world.settle("t1")
        world.settle("t2")
        first = [text(await world.call("look", {"n": 1})) for _ in range(2)]
        calling = world.asking("look", {"n": 1})
        await asyncio.sleep(1)
        world.settle("t0")
        return [*first, text(await calling)]

    assert virtually(scenario)[1] == ["2", "3", "1"]


def test_an_early_result_that_nobody_asks_for_in_time_is_void():
    async def scenario(world):
        world.write("look", {"n": 1})
        world.write("look", {"n": 2}, "open")
        await asyncio.sleep(2)
        world.settle()
        await asyncio.sleep(31)
        world.settle("open")
        return [text(await world.call("look", {"n": number})) for number in (1, 2)]

    world, results = virtually(scenario)
    assert results == ["3", "4"]
    assert world.audit.of("voided") == [("r1", "expired"), ("r0", "expired")]
    assert world.meter.early == [None, None]
    assert world.steps()[-1] is Step.VOID


def test_a_claimed_run_is_waited_for_however_long_announcements_live():
    async def scenario(world):
        world.write("look", {"s": 8.0})
        world.settle()
        return text(await world.call("look", {"s": 8.0}))

    world, result = virtually(scenario, claim_ttl_s=2.0)
    assert result == "1"
    assert world.audit.of("voided") == []


def test_an_agent_whose_turn_does_not_end_gets_a_run_of_its_own():
    async def scenario(world):
        world.write("look", {"s": 8.0})
        return text(await world.call("look", {"s": 8.0})), world.loop.time()

    world, (result, at) = virtually(scenario, claim_ttl_s=5.0)
    assert (result, at) == ("2", 13.0)
    assert world.audit.of("voided") == [("r0", "expired")]


def test_an_agent_that_leaves_cancels_the_run_that_it_joined():
    async def scenario(world):
        world.write("look", {"s": 9.0})
        world.settle()
        calling = world.asking("look", {"s": 9.0})
        await asyncio.sleep(1)
        calling.cancel()
        await asyncio.wait([calling])
        await asyncio.sleep(1)
        return calling.cancelled(), world.upstreams.asked[0].fate, world.upstreams.asked[0].ended_at

    world, (is_cancelled, fate, at) = virtually(scenario)
    assert is_cancelled
    assert (fate, at) == ("cancelled", 1.0)
    assert world.forecaster.observed == [("look", 1.0, "cancelled")]


def test_an_agent_that_leaves_before_its_turn_turns_out_void_leaves_a_full_audit():
    async def scenario(world):
        world.write("look", {"s": 9.0})
        calling = world.asking("look", {"s": 9.0})
        await asyncio.sleep(1)
        calling.cancel()
        await asyncio.wait([calling])
        world.settle(why=Void.REFUSED)

    world, _ = virtually(scenario)
    assert world.audit.of("voided") == [("r0", "refused")]
    assert world.forecaster.observed == []


def test_a_call_that_overtakes_its_announcement_is_matched_with_it_and_runs_once():
    async def scenario(world):
        world.announce("look")
        calling = world.asking("look", {"n": 1})
        await asyncio.sleep(0.5)
        world.fill({"n": 1})
        world.settle()
        return text(await calling)

    world, result = virtually(scenario)
    assert result == "1"
    assert len(world.upstreams.asked) == 1
    assert world.last().how is How.ASKED
    assert world.last().claimed_at == 0.0


def test_a_call_from_before_the_model_wrote_an_equal_one_is_not_matched_with_it():
    async def scenario(world):
        calling = world.asking("look", {"n": 1, "s": 5})
        await asyncio.sleep(1)
        world.write("look", {"n": 1, "s": 5})
        await calling

    assert len(virtually(scenario)[0].upstreams.asked) == 2


@pytest.mark.parametrize(
    ("answer", "num_asked", "expected"),
    [
        (ToolFault(Fault.UPSTREAM_REFUSED, "no"), 1, "upstream_refused"),
        (ToolFault(Fault.UPSTREAM_BROKE, "went away"), 1, "upstream_broke"),
        ({"isError": True, "content": []}, 1, "isError"),
        (ToolFault(Fault.UPSTREAM_DOWN, "down"), 6, "upstream_down"),
        (ToolFault(Fault.UPSTREAM_REFUSED, "no", {"code": -32021}), 2, "upstream_refused"),
        ({"resultType": "input_required", "requestState": "x"}, 2, "input_required"),
    ],
)
def test_what_an_early_run_came_to_is_given_out_unless_a_run_of_the_agents_own_may_fare_better(answer, num_asked, expected):
    async def scenario(world):
        world.upstreams.answers["look"] = [answer]
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        world.settle()
        try:
            result = await world.call("look", {"n": 1})
        except ToolFault as fault:
            return fault.fault.value
        return result.get("resultType") or next(key for key in result if key == "isError")

    world, got = virtually(scenario)
    assert got == expected
    assert len(world.upstreams.asked) == num_asked


@pytest.mark.parametrize(
    "answer", [ToolFault(Fault.UPSTREAM_REFUSED, "no", {"code": -32021}), {"resultType": "input_required", "requestState": "x"}]
)
def test_an_agent_that_waits_for_a_run_that_is_of_no_use_to_it_gets_its_own(answer):
    async def slowly(ask):
        await asyncio.sleep(1)
        if isinstance(answer, ToolFault):
            raise answer
        return answer

    async def scenario(world):
        world.upstreams.answers["look"] = [slowly, {"content": "its own"}]
        world.write("look", {"n": 1})
        world.settle()
        return (await world.call("look", {"n": 1}))["content"]

    world, result = virtually(scenario)
    assert result == "its own"
    assert world.last().how is How.ASKED


def test_a_claimed_call_that_is_refused_is_ended_towards_its_proxy():
    async def scenario(world):
        world.write("write", {"n": 1})
        world.settle()
        world.audit.can_write = False
        return await world.fault("write", {"n": 1})

    world, fault = virtually(scenario)
    assert fault.fault is Fault.AUDIT
    assert world.steps() == [Step.ANNOUNCED, Step.FINISHED]
    assert not world.last().is_ok
