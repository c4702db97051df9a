"""What tenants never share of runs: results, announcements, budgets."""

import asyncio

from tests.unit.test_tools_shared_runs import TOOLS, virtually
from tests.unit.tool_runs_world import World, text

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.messages import How
from turnwise.tools_gateway.settings import Auth


def test_two_tenants_share_nothing():
    async def scenario(world):
        for name in ("shared", "memory"):
            await asyncio.gather(*(world.call(name, {"n": 1}, tenant=tenant) for tenant in ("a", "b")))
        await world.call("memory", {"n": 1}, tenant="b")
        world.write("look", {"n": 1}, tenant="proxy-a")
        await asyncio.sleep(2)
        world.settle()
        await world.call("look", {"n": 1}, tenant="b")
        await world.call("look", {"n": 1}, tenant="a")
        return [(ask.tool, ask.credential.id) for ask in world.upstreams.asked]

    world, asked = virtually(scenario, tenants=("a", "b"))
    assert asked == [
        ("shared", "up/a"), ("shared", "up/b"), ("memory", "up/a"), ("memory", "up/b"), ("look", "up/a"), ("look", "up/b"),
    ]  # fmt: skip
    assert world.last().how is How.EARLY


def test_two_tenants_of_a_shared_upstream_share_its_session_and_no_run_result_or_announcement():
    async def scenario(world):
        for name in ("shared", "memory"):
            await asyncio.gather(*(world.call(name, {"n": 1}, tenant=tenant) for tenant in ("a", "b")))
        world.write("look", {"n": 1}, tenant="proxy-a")
        await asyncio.sleep(2)
        world.settle()
        await world.call("look", {"n": 1}, tenant="b")
        return {ask.credential.id for ask in world.upstreams.asked}

    async def main():
        async with World(TOOLS, tenants=("a", "b"), shared=("up",)) as world:
            return world, await scenario(world)

    world, credentials = run_virtual(main())
    assert credentials == {"up"}
    assert len(world.upstreams.asked) == 6
    assert world.last().claimed_at is None


def test_one_tenants_early_runs_and_held_results_leave_the_others_budget_alone():
    async def scenario(world):
        for number in range(4):
            world.write("look", {"n": number}, f"a{number}", tenant="proxy-a")
        world.write("look", {"n": 9}, "b", tenant="proxy-b")
        await asyncio.sleep(0.5)
        return [ask.credential.id for ask in world.upstreams.asked]

    assert virtually(scenario, tenants=("a", "b"), max_early=2)[1] == ["up/a", "up/a", "up/b"]


def test_what_an_unknown_tenant_of_a_proxy_announces_is_left_alone():
    async def scenario(world):
        world.write("look", {"n": 1}, tenant="proxy-nobody")
        world.write("look", {"n": 1}, "t2", tenant="")
        await asyncio.sleep(2)

    world, _ = virtually(scenario, tenants=("a",))
    assert world.upstreams.asked == []
    assert world.upstreams.prepared == []


def test_what_a_proxy_announces_is_left_alone_where_callers_are_known_by_their_tokens_alone():
    async def scenario(world):
        world.write("look", {"n": 1}, tenant="")
        world.write("look", {"n": 1}, "t2", tenant="proxy-a")
        await asyncio.sleep(2)
        world.settle()
        return text(await world.call("look", {"n": 1}, tenant="a"))

    world, result = virtually(scenario, auth=Auth(issuer="https://issuer.test"))
    assert result == "1"
    assert len(world.upstreams.asked) == 1
    assert world.upstreams.prepared == []
