"""What early runs may take: of a tenant's budget, of time, of slots and of places for turns."""

import asyncio

import msgspec
import pytest
from tests.unit.test_tools_early_runs import virtually
from tests.unit.tool_runs_world import EARLY, tool

from turnwise.tools_gateway.messages import Step, Void
from turnwise.tools_gateway.runs.rule import NotEarly
from turnwise.tools_gateway.runs.turns import MAX_CALLS, MAX_OPEN_S, MAX_TURNS
from turnwise.tools_gateway.values import AnnouncementEnd, Fault


def test_a_run_that_is_cut_off_because_nobody_asked_for_it_is_not_learned_from():
    async def scenario(world):
        world.write("look", {"s": 9.0})
        world.settle()
        await asyncio.sleep(5)
        return world.upstreams.asked[0].fate

    world, fate = virtually(scenario, claim_ttl_s=2.0)
    assert fate == "cancelled"
    assert world.forecaster.observed == []


def test_early_runs_have_a_budget_for_each_tenant():
    async def scenario(world):
        for number in range(5):
            world.write("look", {"n": number, "s": 5}, f"t{number}")
        await asyncio.sleep(1)
        num_first = len(world.upstreams.asked)
        world.settle("t0")
        calling = world.asking("look", {"n": 0, "s": 5})
        await asyncio.sleep(0)
        world.write("look", {"n": 9, "s": 5}, "t9")
        await calling
        return num_first, len(world.upstreams.asked)

    world, numbers = virtually(scenario, max_early=3)
    assert numbers == (3, 4)
    assert world.meter.waits == [NotEarly.BUDGET] * 2


def test_a_result_for_which_there_is_no_room_is_not_held():
    async def scenario(world):
        world.upstreams.answers["look"] = [{"content": "x" * 600}]
        for number in range(2):
            world.write("look", {"n": number}, f"t{number}")
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        for number in range(2):
            world.settle(f"t{number}")
            await world.call("look", {"n": number})
        return [ask.arguments["n"] for ask in world.upstreams.asked]

    assert virtually(scenario, max_held_bytes=1000)[1] == [0, 1, 1]


def test_nothing_runs_early_while_the_audit_cannot_be_written():
    async def scenario(world):
        world.audit.can_write = False
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        return len(world.upstreams.asked)

    assert virtually(scenario)[1] == 0


def test_progress_buys_no_time_for_a_run_that_nobody_asked_for():
    async def progress(ask):
        for _ in range(30):
            await ask.notify("notifications/progress", {"progress": 1})
            await asyncio.sleep(1)
        return {"content": []}

    async def scenario(world):
        world.upstreams.answers["look"] = [progress]
        world.write("look", {"n": 1})
        await asyncio.sleep(20)
        return world.upstreams.asked[0].ended_at

    world, ended_at = virtually(scenario)
    assert ended_at == 10.0
    assert Step.PROGRESSED in world.steps()


def test_closing_voids_what_is_held_and_cancels_what_runs():
    async def scenario(world):
        world.write("look", {"n": 1})
        world.write("look", {"n": 2, "s": 9}, "running")
        calling = world.asking("write", {"s": 9})
        await asyncio.sleep(2)
        await world.runs.aclose()
        (fault,) = await asyncio.gather(calling, return_exceptions=True)
        late = await world.fault("write", {"n": 3})
        return fault.fault, late.fault, [ask.fate for ask in world.upstreams.asked]

    world, (fault, late, fates) = virtually(scenario)
    assert (fault, late) == (Fault.CANCELLED, Fault.CANCELLED)
    assert fates == ["answered", "cancelled", "cancelled"]
    assert len(world.audit.of("voided")) == 2


def test_the_turn_that_a_proxy_lost_long_ago_makes_room_for_a_new_one():
    async def scenario(world):
        for number in range(MAX_TURNS + 1):
            world.write("look" if number == 0 else "read", {"n": number}, f"t{number}")
        return world.audit.of("voided")

    assert virtually(scenario)[1] == [("r0", "expired")]


@pytest.mark.parametrize(
    "tell",
    [
        lambda world: world.announce("read", "ended"),
        lambda world: world.announce("read", "t0", source="another"),
        lambda world: world.announce("read", "new", -1),
        lambda world: world.announce("read", "new", MAX_CALLS),
    ],
)
def test_word_that_begins_no_turn_takes_the_place_of_none(tell):
    async def scenario(world):
        world.write("read", {"n": 1}, "ended")
        world.settle("ended", Void.LENGTH)
        for source in ("proxy", "another"):
            for number in range(MAX_TURNS):
                world.announce("read", f"{source}{number}" if source == "another" else f"t{number}", source=source)
        tell(world)
        return world.meter.ends

    assert AnnouncementEnd.EXPIRED not in virtually(scenario)[1]


def test_a_turn_that_never_ends_is_given_up():
    async def scenario(world):
        world.write("read", {"n": 1})
        await asyncio.sleep(MAX_OPEN_S + 1)
        return world.steps()[-1]

    assert virtually(scenario)[1] is Step.VOID


def test_a_tool_that_runs_one_at_a_time_leaves_that_slot_to_those_who_ask():
    async def scenario(world):
        world.write("look", {"n": 1})
        await asyncio.sleep(2)
        return len(world.upstreams.asked)

    assert virtually(scenario, [tool("look", msgspec.structs.replace(EARLY, max_running=1))])[1] == 0
