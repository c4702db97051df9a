"""A proxy announces calls without knowing the scopes of their agents: what wants a scope waits for the agent."""

import asyncio

import pytest
from tests.unit.tool_runs_world import EARLY, World, tool
from tests.unit.tools_registry import definition, registry

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.ports import AgentCall
from turnwise.tools_gateway.settings import Auth, Settings, TenantSettings, ToolMarks, UpstreamSettings
from turnwise.tools_gateway.values import Principal, UpstreamName

MARKS = ToolMarks(read_only=True, idempotent=True, open_world=False, early=True, deadline_s=10)


class Scoped(World):
    """Runs over the registry as it is, with one tool `up__x` that may run early."""

    def __init__(self, scopes):
        super().__init__([tool("up__x", EARLY)], tenants=["t"])
        told = Settings(
            upstreams=(UpstreamSettings(name="up", command=("/bin/up",), trusted=True, tools={"x": MARKS}),),
            tenants=(TenantSettings(name="t"),),
            auth=Auth(issuer="i", audience="a", jwks_file="k", scopes=scopes),
        )
        self.registry = registry(told)
        up = UpstreamName("up")
        self.registry.learn(up, [definition("x", inputSchema={"type": "object", "properties": {"n": {}}})], self._of("t"))

    def _of(self, tenant):
        return self.registry.credential(UpstreamName("up"), Principal(tenant))


async def announced(scopes):
    async with Scoped(scopes) as world:
        world.write("up__x", {"n": 1}, tenant="proxy-t")
        world.settle()
        await asyncio.sleep(5)
        seen = len(world.upstreams.prepared), len(world.upstreams.asked), len(world.audit.of("decided"))
        holder = Principal("t", frozenset({"use"}))
        await world.runs.call(AgentCall(holder, "up__x", {"n": 1}))
        return (*seen, [how for _, _, _, how, _ in world.audit.of("decided")])


@pytest.mark.parametrize("scopes", [{"up__*": "use"}, {"*": "use"}, {"other": "y", "up__x": "use"}])
def test_a_tool_that_wants_a_scope_is_neither_prepared_nor_run_before_its_agent_asks(scopes):
    assert run_virtual(announced(scopes)) == (0, 0, 0, ["asked"])


def test_a_tool_that_wants_none_runs_early_beside_those_that_do():
    prepared, asked, decided, hows = run_virtual(announced({"other__*": "use"}))
    assert (prepared, asked, decided) == (1, 1, 1)
    assert hows == ["early", "joined"]
