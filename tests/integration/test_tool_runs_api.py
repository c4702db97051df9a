"""Tools on the admin port: how long they take, and runs that clients tell of."""

import pytest
from tests.integration.admin_port import WALL, admin, waiting_for_a_tool
from tests.unit.agents import World, calls, result, says, user

from turnwise.proxy.programs.pauses import Pauses


async def test_tools_are_told_by_tenant_with_how_long_they_take():
    world = World(pauses=Pauses(8))
    for tenant in ("a", "b"):
        turns = [user("Go.")]
        turn = world.call(*turns, answer=calls(("c", "ls")), headers={"x-api-key": tenant})
        world.call(*turns, calls(("c", "ls")), result("c"), answer=says("Done."), headers={"x-api-key": tenant})
    async with admin(world.programs) as http:
        every = (await http.get("/tools")).json()["tools"]
        own = (await http.get("/v1/tools", params={"tenant": turn.key.tenant})).json()["tools"]
        wrong = await http.get("/tools", params={"tenent": "b"})
    assert len(every) == 2
    (tool,) = own
    assert (tool["tenant"], tool["tool"], tool["source"], tool["n"]) == (turn.key.tenant, "ls", "inferred", 1)
    assert tool["p50_s"] <= tool["p90_s"] <= tool["p99_s"]
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "tenent")


async def test_where_programs_are_not_told_apart_no_tool_is_known():
    async with admin(None) as http:
        assert (await http.get("/tools")).json() == {"tools": []}


def a_run(**changes):
    return {"tool_call_id": "call_1", "started_at": WALL - 5, "ended_at": WALL - 4, **changes}


@pytest.mark.parametrize("path", ["/tool-runs", "/v1/tool-runs"])
async def test_a_tool_run_that_is_told_is_taken_for_the_call_that_waits_for_it(path):
    async with admin(waiting_for_a_tool("goal")) as http:
        answer = await http.post(
            path, json=[a_run(queued_at=WALL - 6, program="goal"), a_run(tool_call_id="call_9"), a_run(program="x")]
        )
    assert (answer.status_code, answer.json()) == (200, {"taken": 1, "unknown": ["call_9", "call_1"], "ambiguous": []})


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({}, "body", "list"),
        ([{"tool_call_id": "call_1"}], "body", "started_at"),
        ([a_run(), a_run(started_at="now")], "body", "$[1].started_at"),
        ([a_run(tools="ls")], "body", "tools"),
        ([a_run(), a_run(ended_at=WALL - 6)], "[1].ended_at", "before"),
        ([a_run(queued_at=WALL - 4.5)], "[0].started_at", "before"),
        ([a_run()] * 1025, "body", "1024"),
        ([a_run(), a_run(started_at=1000 * WALL, ended_at=1000 * WALL)], "[1].started_at", "seconds"),
        ([a_run(queued_at=-1000.0)], "[0].queued_at", "programs.max_age_s"),
        ([a_run(started_at=WALL - 3601)], "[0].started_at", "3600 s"),
        ([a_run(ended_at=WALL + 1.5)], "[0].ended_at", "seconds"),
    ],
)
async def test_tool_runs_that_cannot_be_read_are_refused_and_none_is_taken(body, param, says):
    async with admin(waiting_for_a_tool()) as http:
        answer = await http.post("/tool-runs", json=body)
        again = await http.post("/tool-runs", json=[a_run()])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert says in answer.json()["error"]["message"]
    assert again.json()["taken"] == 1


async def test_a_tool_run_that_several_calls_wait_for_is_ambiguous():
    world = World()
    for goal in ("one", "two"):
        world.call(user(goal), answer=calls(("call_1", "ls")), headers={"x-turnwise-program": goal})
    async with admin(world.programs) as http:
        answer = await http.post("/tool-runs", json=[a_run(), a_run(tool_call_id="call_9"), a_run(program="two")])
    assert answer.json() == {"taken": 1, "unknown": ["call_9"], "ambiguous": ["call_1"]}
