"""The agents of the compose file's profile `sim`, before an embedded engine."""

import importlib.util
import random
from pathlib import Path

import httpx
import pytest
from mcp import Client

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim
from turnwise.tools_gateway import settings_sources

FOLDER = Path(__file__).parents[2] / "deploy/observability"


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"deploy_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def agents():
    module = loaded("agents")
    module.TOOL_S = (0.0, 0.0)
    return module


@pytest.mark.parametrize("tool", ["house__read_file", "delegate"])
async def test_an_agent_calls_its_tool_brings_the_result_and_answers(agents, tool):
    bodies = []

    async def note(request):
        bodies.append(httpx.Response(200, content=request.content).json())

    options = SimOptions(speed=1000.0, tool_policy="once")
    async with (
        serve_sim(SimEngine(options)) as address,
        httpx.AsyncClient(base_url=address.url, event_hooks={"request": [note]}, trust_env=False) as http,
    ):
        await agents.reach_goal(http, agents.make_up, "7", tool, random.Random(1))
    first, *others, last = bodies
    assert [message["role"] for message in last["messages"]] == ["system", "user", "assistant", "tool"]
    assert last["messages"][: len(first["messages"])] == first["messages"]
    (call,) = last["messages"][2]["tool_calls"]
    assert call["function"]["name"] == tool
    assert last["messages"][3]["tool_call_id"] == call["id"]
    if tool == "delegate":
        (spawned,) = others
        assert spawned["messages"][1]["content"] in call["function"]["arguments"]


async def test_the_house_answers_an_agent_that_calls_it(agents):
    house = loaded("house")
    house.READ_S = (0.0, 0.0)
    (upstream,) = settings_sources.load(FOLDER / "tools.toml", {}).upstreams
    async with Client(house.house) as tools:
        names = {tool.name for tool in (await tools.list_tools()).tools}
        result = await agents.called_by(tools)("read_file", {"path": "/cellar/lamps"})
    assert set(upstream.tools) == names
    assert agents.TOOLS.keys() >= {f"{upstream.name}__{name}" for name in names}
    assert result.startswith("/cellar/lamps: ")
