"""Agents that fork and join through `turnwise serve` and name nobody, as its admin port tells of them."""

import contextlib
from collections import Counter

import httpx
import msgspec
from tests.page.agents import play

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim
from turnwise.proxy.admin.program_page import ProgramPage
from turnwise.proxy.programs.values import LinkKind, Summary

PROGRAMS = 3


async def test_each_goal_is_one_program_with_its_sub_agents_their_joins_and_who_holds_what(serve_sims):
    async with contextlib.AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(serve_sim(SimEngine(SimOptions(model="sim", speed=100, seed=seed))))
            for seed in (1, 2)
        ]
        proxy = await serve_sims(*(engine.url for engine in engines))
        await play(f"{proxy.url}/v1/", PROGRAMS, tool_s=0.0)
        async with httpx.AsyncClient(base_url=proxy.admin_url, trust_env=False) as http:
            listed = msgspec.json.decode((await http.get("/programs")).content, type=dict[str, list[Summary]])["programs"]
            pages = [
                msgspec.json.decode((await http.get(f"/programs/{program.id}")).content, type=ProgramPage) for program in listed
            ]
    assert len(listed) == PROGRAMS
    for page in pages:
        kinds = Counter(link["kind"] for call in page.calls for link in call["links"])
        sub_agents = page.program.agents - 1
        assert kinds[LinkKind.SPAWN] == kinds[LinkKind.JOIN] == sub_agents
        assert {row.depth for row in page.rows} <= {0, 1}
        assert (1 in {row.depth for row in page.rows}) == (sub_agents > 0)
        assert abs(sum(page.ledger.causes.values()) - page.ledger.makespan_s) < 1e-6
        assert page.ledger.ftr_s is not None
        main = next(held for held in page.graph.held if held.agent == 0)
        assert max(held.tokens for held in main.replicas.values()) > 0.5 * main.prompt_tokens
    assert max(page.program.agents for page in pages) > 1
