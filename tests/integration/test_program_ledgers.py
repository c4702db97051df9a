"""Agents in a whole proxy on a virtual clock, which knows to the instant what their programs' time went to."""

import asyncio
import math
from itertools import pairwise

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from turnwise.proxy.memory import MemoryClient
from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.programs.ledger import account
from turnwise.proxy.programs.values import LinkKind
from turnwise.settings import PolicySettings, UpstreamSettings
from turnwise.types import ProgramId

PATH = "/v1/chat/completions"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "task",
            "parameters": {
                "type": "object",
                "properties": {"prompt": {"type": "string", "minLength": 40}},
                "required": ["prompt"],
            },
        },
    }
]
NAMED = ((b"x-turnwise-program", b"the-goal"),)
UNREADABLE = ((b"traceparent", b"nonsense"), (b"x-turnwise-priority", b"high"))


class Agent:
    """A client that keeps one conversation."""

    def __init__(self, proxy, question, headers=()):
        self.proxy = proxy
        self.headers = headers
        self.messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": question}]

    async def ask(self, num_tools=0, *, client=None, is_stream=True):
        """One call; its answer joins the conversation. Returns the tool calls that it holds."""
        body = {"model": "sim", "messages": self.messages, "tools": TOOLS, "max_tokens": 400, "stream": is_stream}
        headers = (*self.headers, (b"x-sim-tool-calls", b"%d" % num_tools))
        client = await self.proxy.call(body, headers=headers, client=client)
        if client.is_finished and client.head.status == 200:
            self.messages.append(streamed_message(client.body) if is_stream else client.json()["choices"][0]["message"])
        return self.messages[-1].get("tool_calls", [])

    def say(self, text):
        self.messages.append({"role": "user", "content": text})

    def bring(self, tools, text="done"):
        self.messages += [{"role": "tool", "tool_call_id": tool["id"], "content": text} for tool in tools]


def streamed_message(body):
    """The message that a stream of chunks amounts to."""
    content, calls = "", {}
    for line in body.split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in msgspec.json.decode(line[6:])["choices"]:
                content += choice["delta"].get("content") or ""
                for piece in choice["delta"].get("tool_calls", ()):
                    call = calls.setdefault(piece["index"], {"id": "", "function": {"name": "", "arguments": ""}})
                    call["id"] += piece.get("id") or ""
                    for key in call["function"]:
                        call["function"][key] += piece["function"].get(key) or ""
    tools = [{"type": "function", **call} for call in calls.values()]
    return {"role": "assistant", "content": content or None, **({"tool_calls": tools} if tools else {})}


@pytest.fixture
def lived(virtually, world):
    """Runs `live(proxy)` in a proxy; gives the calls of the one program that came of it, and the clock before and after."""

    def run(live, count=1, **options):
        async def main():
            async with world(count, preset="h100-8b", **options) as proxy:
                began = proxy.clock()
                await live(proxy)
                return proxy.programs.close(proxy.clock()), began, proxy.clock()

        (program,), began, ended = virtually(main())
        return program.calls, began, ended

    return run


def accounted(calls, began, ended):
    """The ledger of a program whose first call came at `began`, and whose last one ended at `ended`."""
    ledger = account(calls, began, ("final_answer",))
    assert ledger.started_at == began
    assert ledger.makespan_s == pytest.approx(ended - began, abs=1e-9)
    assert math.fsum(ledger.causes.values()) == pytest.approx(ended - began, abs=1e-9)
    assert all(left.end == right.start for left, right in pairwise(ledger.path))
    assert all(seconds <= ledger.totals.get(cause, 0.0) + 1e-9 for cause, seconds in ledger.causes.items())
    return ledger


def test_a_loop_of_tools_is_its_calls_and_its_tools(lived):
    async def live(proxy):
        agent = Agent(proxy, "what is the weather in Higos today")
        for seconds in (2.5, 0.75):
            tools = await agent.ask(1)
            await asyncio.sleep(seconds)
            agent.bring(tools)
        await agent.ask()

    ledger = accounted(*lived(live))
    assert ledger.causes[Cause.TOOL_RUN] == pytest.approx(3.25, abs=1e-9)
    assert (ledger.llm_calls, ledger.tool_runs, ledger.slack) == (3, 2, {})
    assert set(ledger.causes) == {Cause.TOOL_RUN, Cause.PREFILL, Cause.DECODE}


def test_a_named_program_goes_on_after_its_user_has_thought(lived):
    async def live(proxy):
        agent = Agent(proxy, "what is the weather in Higos today", NAMED)
        await agent.ask()
        await asyncio.sleep(4.0)
        agent.say("and tomorrow, would you think")
        await agent.ask(is_stream=False)

    ledger = accounted(*lived(live))
    assert ledger.causes[Cause.CLIENT] == pytest.approx(4.0, abs=1e-9)
    assert ledger.ftr_s == pytest.approx(ledger.makespan_s, abs=1e-9)
    assert ledger.barriers == {}


async def sub_agent(proxy, tool, rounds, tool_s):
    agent = Agent(proxy, msgspec.json.decode(tool["function"]["arguments"])["prompt"])
    for _ in range(rounds):
        tools = await agent.ask(1)
        await asyncio.sleep(tool_s)
        agent.bring(tools)
    await agent.ask()


def test_a_fork_waits_for_its_slowest_branch_and_says_how_long_the_others_could_have_taken(lived):
    ends = []

    async def live(proxy):
        agent = Agent(proxy, "find out what there is to know of Higos")
        tools = await agent.ask(3)
        await asyncio.sleep(0.5)

        async def branch(number):
            await sub_agent(proxy, tools[number], number + 1, 1.0)
            ends.append(proxy.clock())

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(branch(number))
        await asyncio.sleep(0.25)
        agent.bring(tools)
        await agent.ask()

    calls, began, ended = lived(live)
    ledger = accounted(calls, began, ended)
    kinds = [link.kind for call in calls for link in call.links]
    assert (kinds.count(LinkKind.SPAWN), kinds.count(LinkKind.JOIN)) == (3, 3)
    assert ledger.forks == 3
    assert ledger.tool_runs == 6
    assert ledger.causes[Cause.JOIN_WAIT] == pytest.approx(0.25, abs=1e-9)
    assert ledger.causes[Cause.CLIENT] == pytest.approx(0.5, abs=1e-9)
    assert ledger.causes[Cause.TOOL_RUN] == pytest.approx(3.0, abs=1e-9)
    joined = calls[-1].times.arrived
    last_of_branches = {call.call_id: call.times.ended for call in calls if call.agent and call.is_final}
    assert sorted(last_of_branches.values()) == pytest.approx(sorted(ends), abs=1e-9)
    expected = {name: joined - end for name, end in last_of_branches.items() if end < max(ends)}
    assert {name: ledger.slack[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert ledger.ftr_s == pytest.approx(calls[-1].times.first_visible - began, abs=1e-9)


def test_attempts_at_a_killed_replica_are_connecting(lived):
    async def live(proxy):
        proxy.upstream.killed.add(next(iter(proxy.upstream.engines)))
        await Agent(proxy, "what is the weather in Higos today").ask()

    calls, began, ended = lived(live, count=2, policy=PolicySettings(name="round_robin"))
    ledger = accounted(calls, began, ended)
    (call,) = calls
    assert [attempt.reason for attempt in call.attempts] == ["connect_failed"]
    assert ledger.engine_s == pytest.approx(ledger.causes[Cause.PREFILL] + ledger.causes[Cause.DECODE])
    assert set(ledger.causes) <= {Cause.CONNECT, Cause.ROUTE, Cause.PREFILL, Cause.DECODE}


def test_a_replica_that_dies_while_it_computes_costs_the_time_until_the_next_is_asked(lived):
    async def live(proxy):
        engine = next(iter(proxy.upstream.engines.values()))

        async def kill():
            await asyncio.sleep(0.001)
            await engine.restart()

        async with asyncio.TaskGroup() as group:
            group.create_task(Agent(proxy, "what is the weather in Higos today " * 400).ask())
            group.create_task(kill())

    calls, began, ended = lived(live, count=2, policy=PolicySettings(name="round_robin"))
    ledger = accounted(calls, began, ended)
    assert ledger.causes[Cause.CONNECT] == pytest.approx(0.001, abs=1e-9)
    details = [stretch.detail for stretch in ledger.path if stretch.cause is Cause.CONNECT]
    assert details == ["attempt 1 at r0: stream_broken"]


def test_a_client_that_leaves_and_asks_again_is_on_the_path_twice(lived):
    async def live(proxy):
        agent, client = Agent(proxy, "what is the weather in Higos today", NAMED), MemoryClient()
        asking = asyncio.create_task(agent.ask(client=client))
        await asyncio.sleep(0.05)
        client.leave()
        await asking
        await asyncio.sleep(1.0)
        await agent.ask()

    calls, began, ended = lived(live)
    ledger = accounted(calls, began, ended)
    assert [call.reason for call in calls] == ["client_gone", ""]
    assert [link.kind for link in calls[1].links] == [LinkKind.RETRY]
    assert ledger.causes[Cause.CLIENT] == pytest.approx(1.0, abs=1e-9)
    assert ledger.path[0].node == calls[0].call_id


def test_a_call_that_nobody_can_serve_has_taken_no_time_that_is_not_accounted_for(lived):
    async def live(proxy):
        for origin in proxy.upstream.engines:
            proxy.upstream.killed.add(origin)
        agent = Agent(proxy, "what is the weather in Higos today", NAMED)
        await agent.ask()
        await asyncio.sleep(2.0)
        await agent.ask()

    calls, began, ended = lived(live, count=2, changes={"upstream": UpstreamSettings(max_attempts=2)})
    ledger = accounted(calls, began, ended)
    assert all(call.reason for call in calls)
    assert ledger.ftr_s is None
    assert ledger.causes[Cause.CLIENT] == pytest.approx(2.0, abs=1e-9)


def test_a_live_program_is_accounted_for_while_its_call_runs(virtually, world):
    async def main():
        async with world(1, preset="h100-8b") as proxy:
            agent = Agent(proxy, "what is the weather in Higos today")
            tools = await agent.ask(1)
            first_ended = proxy.clock()
            await asyncio.sleep(1.0)
            agent.bring(tools)
            asking = asyncio.create_task(agent.ask())
            await asyncio.sleep(0.25)
            (summary,) = proxy.programs.listing(proxy.clock())
            key, calls = proxy.programs.calls(ProgramId(summary.id))
            ledger = account(calls, key.started_at, (), proxy.clock(), is_running=summary.running > 0)
            now = proxy.clock()
            await asking
            return ledger, now, first_ended

    ledger, now, first_ended = virtually(main())
    assert ledger.makespan_s == pytest.approx(now - ledger.started_at, abs=1e-9)
    assert ledger.causes[Cause.UNATTRIBUTED] == pytest.approx(now - first_ended, abs=1e-9)


def test_programs_are_counted_as_they_live_and_as_they_end(virtually, world):
    def sums(proxy):
        page = text_string_to_metric_families(proxy.metrics.render().decode())
        return {(sample.name, *sample.labels.values()): sample.value for family in page for sample in family.samples}

    async def main():
        async with world(1, preset="h100-8b") as proxy:
            agent = Agent(proxy, "what is the weather in Higos today", UNREADABLE)
            tools = await agent.ask(1)
            await asyncio.sleep(1.0)
            agent.bring(tools)
            await agent.ask()
            before = sums(proxy)
            proxy.recorder.sweep_programs(is_last=True)
            return before, sums(proxy)

    before, after = virtually(main())
    assert (before["turnwise_live_programs",], after["turnwise_live_programs",]) == (1, 0)
    assert after["turnwise_identified_calls_total", "new"] == 1
    assert after["turnwise_identified_calls_total", "lineage"] == 1
    assert after["turnwise_ids_ignored_total", "malformed"] == 2
    assert after["turnwise_hints_ignored_total", "priority"] == 2
    assert after["turnwise_hints_ignored_total", "retention"] == 0
    assert after["turnwise_programs_total", "new", "shutdown"] == 1
    assert after["turnwise_program_path_seconds_total", "tool_run"] == pytest.approx(1.0, abs=1e-9)
    assert after["turnwise_inter_token_seconds_count", "chat"] == 2
    assert ("turnwise_programs_total", "new", "shutdown") not in before
