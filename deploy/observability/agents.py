"""Agents for compose.yaml's profile `sim`: each reads a file, hands a task to another agent, and answers; again and again.

`python agents.py URL [MCP TOKEN]`. Tools are called at the MCP server of the second URL; without one, results are made up.
Nothing but the prompts says what belongs together, as with most frameworks.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

NUM_AGENTS = 6
TIMEOUT_S = 120.0
TOOL_S, PAUSE_S = (0.1, 1.0), (0.5, 3.0)
"""Least and most time of a tool run, and between two goals."""
TASKS = ("Count the lamps in the cellar", "List the doors that do not close", "Find the receipts of last May")
TOOLS = {
    "house__read_file": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    "delegate": {"type": "object", "properties": {"task": {"type": "string"}}, "required": ["task"]},
}


Run = Callable[[str, dict[str, Any]], Awaitable[str]]
"""Runs a tool of this name with these arguments."""


class Agent:
    """One conversation."""

    def __init__(self, http: httpx.AsyncClient, goal: str, *tools: str, task: str = "") -> None:
        self._http = http
        self._tools = [
            {"type": "function", "function": {"name": name, "parameters": _with(TOOLS[name], task)}} for name in tools
        ]
        self.said = ""
        self._messages: list[dict[str, Any]] = [
            {"role": "system", "content": "You keep a house in order. " * 60},
            {"role": "user", "content": goal},
        ]

    async def call(self) -> list[dict[str, Any]]:
        """Stream one answer; returns its tool calls."""
        body = {"model": "sim", "messages": self._messages, "max_tokens": 64, "stream": True}
        if self._tools:
            body["tools"] = self._tools
        text, calls = "", dict[int, dict[str, Any]]()
        async with self._http.stream("POST", "/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        text += choice["delta"].get("content") or ""
                        _collect(calls, choice["delta"].get("tool_calls") or ())
        said = {"role": "assistant", "content": text or None}
        self._messages.append({**said, "tool_calls": list(calls.values())} if calls else said)
        self.said = text
        return list(calls.values())

    def give(self, calls: list[dict[str, Any]], result: str) -> None:
        """Add what the tools gave."""
        self._messages += [{"role": "tool", "tool_call_id": call["id"], "content": result} for call in calls]


def _with(schema: dict[str, Any], task: str) -> dict[str, Any]:
    """A tool's parameters, the task fixed where there is one: the embedded engine makes arguments up."""
    return {**schema, "properties": {"task": {"const": task}}} if task else schema


def _collect(calls: dict[int, dict[str, Any]], deltas: Any) -> None:
    for delta in deltas:
        call = calls.setdefault(delta["index"], {"type": "function", "function": {"name": "", "arguments": ""}})
        call["id"] = delta.get("id") or call.get("id")
        function = delta.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


async def make_up(_name: str, _arguments: dict[str, Any]) -> str:
    """Take some time, and give some result."""
    await asyncio.sleep(random.uniform(*TOOL_S))
    return "It is all there. " * random.randrange(5, 60)


async def reach_goal(http: httpx.AsyncClient, run: Run, name: str, tool: str, rng: random.Random) -> None:
    """See one goal through: an answer that calls a tool, what comes of it, and the final answer."""
    task = f"{rng.choice(TASKS)} of house {name} and say what you found"
    agent = Agent(http, f"Goal {name}: see to the house.", tool, task=task if tool == "delegate" else "")
    calls = await agent.call()
    if tool == "delegate" and calls:
        other = Agent(http, task)
        await other.call()
        agent.give(calls, other.said)
    else:
        for call in calls:
            agent.give([call], await run(call["function"]["name"], json.loads(call["function"]["arguments"])))
    await agent.call()


async def work(http: httpx.AsyncClient, run: Run, number: int) -> None:
    """Reach one goal after another."""
    rng = random.Random(number)
    for goal in itertools.count():
        try:
            await reach_goal(http, run, f"{number}-{goal}", rng.choice(tuple(TOOLS)), rng)
        except httpx.HTTPError as error:
            print(f"agent {number}: {error!r}", file=sys.stderr)
        await asyncio.sleep(rng.uniform(*PAUSE_S))


async def main(url: str, mcp_url: str = "", token: str = "") -> None:
    """Let all agents work until the process is ended."""
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S))
        run = make_up
        if mcp_url:
            headers = {"authorization": f"Bearer {token}"}
            to_tools = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=TIMEOUT_S))
            tools = await stack.enter_async_context(Client(streamable_http_client(mcp_url, http_client=to_tools)))
            run = called_by(tools)
        await asyncio.gather(*(work(http, run, name) for name in range(NUM_AGENTS)))


def called_by(tools: Client) -> Run:
    """Runs tools of an MCP server."""

    async def run(name: str, arguments: dict[str, Any]) -> str:
        result = await tools.call_tool(name, arguments)
        return "\n".join(part.text for part in result.content if part.type == "text")

    return run


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
