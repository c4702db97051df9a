"""Agents that fork and join through a real proxy: `python -m tests.page.agents http://127.0.0.1:8080/v1/ [PROGRAMS]`.

A main agent calls tools; each task that it hands out is a sub-agent, whose conversation begins with the argument of the tool
call and whose answer is the result of it. No header names anybody: all is known by lineage.
"""

import asyncio
import json
import random
import sys

import httpx

from turnwise.engines.sim.tool_choice import HEADER_TOOL_CALLS

TOOLS = {"main": ("read_file", "task"), "sub": ("grep", "bash")}
ROUNDS = (1, 4, 1, 0)
"""Tool calls that each answer of a main agent makes."""

WORDS = ("cache", "block", "prefix", "replica", "agent", "turn", "program", "index", "lease", "route", "queue", "token")


def text(rng, count):
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(1000)}" for _ in range(count))


class Agent:
    """One conversation; `tool_s` is how long its tools take at most."""

    def __init__(self, http, kind, goal, seed, *, model="sim", tool_s=0.4):
        self.http = http
        self.kind = kind
        self.seed = seed
        self.rng = random.Random(seed)
        self.model = model
        self.tool_s = tool_s
        system = f"You are the {kind} agent. {text(random.Random(kind), 400)}"
        self.messages = [{"role": "system", "content": system}, {"role": "user", "content": goal}]

    async def run(self, rounds):
        """Call the model until its last round; gives its answer."""
        for count in rounds:
            calls = await self.call(count)
            for call, result in zip(calls, await asyncio.gather(*map(self.result, calls)), strict=True):
                self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        return self.messages[-1]["content"]

    async def call(self, count):
        """One turn whose answer makes `count` tool calls; gives these."""
        parameters = {"type": "object", "properties": {"prompt": {"type": "string", "minLength": 80}}}
        tools = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in TOOLS[self.kind]]
        body = {"model": self.model, "messages": self.messages, "tools": tools, "max_tokens": 400, "stream": True}
        message = {"role": "assistant", "content": "", "tool_calls": {}}
        async with self.http.stream("POST", "chat/completions", json=body, headers={HEADER_TOOL_CALLS: str(count)}) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        add(message, choice["delta"])
        calls = message["tool_calls"] = list(message["tool_calls"].values())
        if not calls:
            del message["tool_calls"]
        self.messages.append(message)
        return calls

    async def result(self, call):
        """What a tool gives; a task is an agent of its own."""
        if call["function"]["name"] == "task":
            goal = json.loads(call["function"]["arguments"])["prompt"]
            sub = Agent(self.http, "sub", goal, f"{self.seed}/{call['id']}", model=self.model, tool_s=self.tool_s)
            return await sub.run([1] * self.rng.randint(1, 4) + [0])
        await asyncio.sleep(self.rng.uniform(0.2, 1) * self.tool_s)
        return text(self.rng, 120)


def add(message, delta):
    """Take one piece of a streamed message."""
    message["content"] += delta.get("content") or ""
    for part in delta.get("tool_calls") or ():
        fresh = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = message["tool_calls"].setdefault(part["index"], fresh)
        call["id"] = part.get("id") or call["id"]
        for key in call["function"]:
            call["function"][key] += part.get("function", {}).get(key) or ""


async def play(url, count, tool_s=0.4):
    """Run `count` programs at once, whose tools take `tool_s` at most."""
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
        goals = [f"goal {seed}: {text(random.Random(seed), 300)}" for seed in range(count)]
        await asyncio.gather(*(Agent(http, "main", goal, seed, tool_s=tool_s).run(ROUNDS) for seed, goal in enumerate(goals)))


if __name__ == "__main__":
    asyncio.run(play(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1))
