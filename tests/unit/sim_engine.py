"""The embedded engine on a virtual clock, and how tests talk to it."""

import json
from contextlib import aclosing

from turnwise.engines.sim import SimEngine, SimOptions, run_virtual

TOOL = {
    "type": "function",
    "function": {"name": "grep", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
}
LONG = "Tell me about the history of the paged cache in many words, please. " * 20


def on_engine(scenario, **options):
    """Run a scenario against a fresh engine on a virtual clock."""

    async def main():
        async with SimEngine(SimOptions(**options)) as engine:
            return await scenario(engine)

    return run_virtual(main())


async def send(engine, method, path, body=None, **headers):
    """One request; gives its status and its answer: decoded, None where it is empty, a list of chunks where it is a stream."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    answer = await engine.handle(method, path, {name.replace("_", "-"): value for name, value in headers.items()}, raw)
    if isinstance(answer.body, bytes):
        return answer.status, json.loads(answer.body) if answer.body else None
    async with aclosing(answer.body) as chunks:
        return answer.status, [chunk async for chunk in chunks]


async def post(engine, path, body, **headers):
    return await send(engine, "POST", path, body, **headers)


async def chat(engine, content="hello", headers=None, **fields):
    body = {"messages": [{"role": "user", "content": content}], **fields}
    return await post(engine, "/v1/chat/completions", body, **(headers or {}))


async def metric(engine, name):
    """Its sum over all labels."""
    answer = await engine.handle("GET", "/metrics", {}, b"")
    return sum(float(line.rpartition(" ")[2]) for line in answer.body.decode().splitlines() if line.startswith(name))


def named_event(chunk):
    """A chunk of the messages and responses APIs, whose events bear their type as a name."""
    name, data = chunk.decode().strip().split("\n")
    value = json.loads(data.removeprefix("data: "))
    assert name == f"event: {value['type']}"
    return value


def read_named(answer):
    """Of a stream its events, of any other answer itself."""
    return [named_event(chunk) for chunk in answer] if isinstance(answer, list) else answer
