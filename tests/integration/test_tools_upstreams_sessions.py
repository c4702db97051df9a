"""Whose sessions of upstreams are: of each tenant its own, in bounds, and for as long as somebody uses them."""

import asyncio

from tests.integration.tools_upstreams_world import World, is_alive, running, scripted, turn

from turnwise.tools_gateway.settings import Limits, Settings, TenantSettings
from turnwise.tools_gateway.values import Fault


async def test_each_tenant_has_a_program_of_its_own():
    tenants = (TenantSettings(name="alice"), TenantSettings(name="bob"))
    async with running(scripted("one"), scripted("all", shared=True), tenants=tenants) as world:
        pids = {
            name: [(await world.call(name, "surroundings", tenant=tenant))["pid"] for tenant in ("alice", "bob")]
            for name in ("one", "all")
        }
        assert len(set(pids["one"])) == 2
        assert len(set(pids["all"])) == 1
        await world.fault("one", "crash", tenant="alice")
        assert (await world.call("one", "surroundings", tenant="bob"))["pid"] == pids["one"][1]


async def test_a_tenant_that_takes_all_its_sessions_leaves_those_of_others_alone():
    limits, tenants = Limits(max_upstream_sessions=4), tuple(TenantSettings(name=name) for name in ("alice", "bob"))
    async with running(scripted("one"), scripted("two"), scripted("three"), limits=limits, tenants=tenants) as world:
        pid = (await world.call("one", "surroundings", tenant="bob"))["pid"]
        busy = [asyncio.create_task(world.call(name, "hang", tenant="alice")) for name in ("one", "two")]
        await turn()
        fault = await world.fault("three", "echo", tenant="alice")
        assert fault.fault is Fault.UPSTREAM_DOWN
        assert "for this tenant" in fault.message
        assert (await world.call("one", "surroundings", tenant="bob"))["pid"] == pid
        await world.call("two", "echo", tenant="bob")
        await world.call("three", "echo", tenant="bob")
        assert len(world.upstreams.facts()) == 4
        for task in busy:
            task.cancel()
        await asyncio.wait(busy)


async def test_callers_share_a_session_whatever_they_write_into_what_they_declare():
    async with running(scripted("old", "2025-11-25")) as world:
        await world.up("old")
        for n in range(3):
            said = {"elicitation": {"form": {"n": n}, str(n): {}}, "experimental": {"n": n}}
            params = {"name": "echo", "arguments": {}}
            await world.ask("old", "tools/call", params, capabilities=said)
        assert len(world.facts("old")) == 2


async def test_sessions_of_tenants_end_when_nobody_uses_them_and_others_do_not():
    now = 0.0
    settings = Settings(
        upstreams=(scripted("one"), scripted("all", shared=True)),
        tenants=(TenantSettings(name="alice"),),
        limits=Limits(upstream_idle_s=100.0),
    )
    world = World(settings, clock=lambda: now)
    owner = asyncio.create_task(world.upstreams.run())
    await world.up("one", "all")
    pid = world.facts("one")[0].pid
    now = 101.0
    world.upstreams._end_idle()
    assert [facts.upstream for facts in world.upstreams.facts()] == ["all"]
    while is_alive(pid):
        await turn()
    owner.cancel()
    await asyncio.wait((owner,))
