"""The agents of the compose file's profile `sim`, before an embedded engine."""

import importlib.util
import random
from pathlib import Path

import httpx
import pytest

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim

SCRIPT = Path(__file__).parents[2] / "deploy/observability/agents.py"


@pytest.fixture
def agents():
    spec = importlib.util.spec_from_file_location("deploy_agents", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.TOOL_S = (0.0, 0.0)
    return module


@pytest.mark.parametrize("tool", ["read_file", "delegate"])
async def test_an_agent_calls_its_tool_brings_the_result_and_answers(agents, tool):
    bodies = []

    async def note(request):
        bodies.append(httpx.Response(200, content=request.content).json())

    options = SimOptions(speed=1000.0, tool_policy="once")
    async with (
        serve_sim(SimEngine(options)) as address,
        httpx.AsyncClient(base_url=address.url, event_hooks={"request": [note]}, trust_env=False) as http,
    ):
        await agents.reach_goal(http, "7", tool, random.Random(1))
    first, *others, last = bodies
    assert [message["role"] for message in last["messages"]] == ["system", "user", "assistant", "tool"]
    assert last["messages"][: len(first["messages"])] == first["messages"]
    (call,) = last["messages"][2]["tool_calls"]
    assert call["function"]["name"] == tool
    assert last["messages"][3]["tool_call_id"] == call["id"]
    if tool == "delegate":
        (spawned,) = others
        assert spawned["messages"][1]["content"] in call["function"]["arguments"]
