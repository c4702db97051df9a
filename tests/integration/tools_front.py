"""The front on a real socket, with rooms behind it that do as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any

import httpx

from turnwise.tools_gateway.ports import AgentCall, Answer, Notify
from turnwise.tools_gateway.server.front import McpFront, Rooms
from turnwise.tools_gateway.server.listening import bind
from turnwise.tools_gateway.server.told import Told
from turnwise.tools_gateway.settings import Settings, UpstreamSettings
from turnwise.tools_gateway.trust import PinnedGuard
from turnwise.tools_gateway.values import (
    Credential,
    Fate,
    Fault,
    JsonObject,
    Marks,
    Principal,
    Request,
    Tool,
    ToolFault,
    ToolKey,
    ToolState,
    UpstreamName,
)

REVISION = "2026-07-28"
RESERVED = "io.modelcontextprotocol/"
TEXT = {"content": [{"type": "text", "text": "done"}]}


def tool(name: str, upstream: str = "std", schema: JsonObject | None = None) -> Tool:
    """A tool that may be called, named as its upstream names it behind `upstream__`."""
    definition = {"name": f"{upstream}__{name}", "inputSchema": schema or {"type": "object"}}
    key = ToolKey(UpstreamName(upstream), name)
    return Tool(definition["name"], key, definition, f"pin of {name}", Marks(), ToolState.READY)


class FakeRegistry:
    """Tools that everybody has."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.known = {each.name: each for each in tools}
        self.forbidden: set[str] = set()

    def resolve(self, name: str, principal: Principal) -> Tool | None:
        return self.known.get(name)

    def tools(self, principal: Principal) -> Sequence[Tool]:
        return list(self.known.values())

    def learn(self, upstream: UpstreamName, definitions: Sequence[JsonObject]) -> bool:
        return False

    def credential(self, upstream: UpstreamName, principal: Principal) -> Credential:
        return Credential(upstream, f"{upstream} for {principal.tenant}")

    def allows(self, principal: Principal, name: str) -> bool:
        return name not in self.forbidden


class Asked:
    """What a run was given."""

    def __init__(self, call: AgentCall) -> None:
        self.what = (call.principal, call.name)
        self.params = {"arguments": call.arguments, "_meta": call.meta}
        self.notify, self.answer, self.caller = call.notify, call.answer, call.caller
        self.ended = asyncio.Event()


Script = Callable[[Asked], Awaitable[JsonObject]]


async def done(asked: Asked) -> JsonObject:
    return dict(TEXT)


class FakeRuns:
    """Runs a script for each call and remembers what it was given."""

    def __init__(self) -> None:
        self.script: Script = done
        self.asked: list[Asked] = []
        self.begun = asyncio.Event()

    async def call(self, call: AgentCall) -> JsonObject:
        asked = Asked(call)
        self.asked.append(asked)
        self.begun.set()
        try:
            return await self.script(asked)
        finally:
            asked.ended.set()


class FakeUpstreams:
    """Answers by method: a value, or a function of the params."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        self.capable: dict[str, JsonObject] = {}
        self.asked: list[tuple[Credential, Request]] = []
        self.answer: Answer | None = None
        """Of the last request: asks its client."""

    def prepare(self, credential: Credential) -> None:
        pass

    def capabilities(self, credential: Credential) -> JsonObject:
        return self.capable.get(credential.upstream, {})

    async def ask(
        self, credential: Credential, request: Request, notify: Notify | None = None, answer: Answer | None = None
    ) -> JsonObject:
        self.asked.append((credential, request))
        self.answer = answer
        given = self.answers.get((credential.upstream, request.method))
        if given is None:
            raise ToolFault(Fault.UPSTREAM_DOWN, f"{credential.upstream} is not connected.")
        result = given(request.params) if callable(given) else given
        return await result if isawaitable(result) else result


class FakeAudit:
    """Keeps what is written of what is no tool, each with what came of it, and all that is refused."""

    def __init__(self) -> None:
        self.refusals: list[tuple[str, Fault]] = []
        self.asked: list[list[Any]] = []
        self.has_ended = asyncio.Event()
        self.can_write = True

    def relayed(self, method: str, upstream: UpstreamName, name: str, principal: Principal, arguments: JsonObject) -> str:
        if not self.can_write:
            return ""
        self.asked.append([method, upstream, name, arguments])
        return str(len(self.asked) - 1)

    def ended(self, record: str, fate: Fate, fault: Fault | None, seconds: float, result: JsonObject | None) -> None:
        self.asked[int(record)].append((fate, fault, None if result is None else sorted(result)))
        self.has_ended.set()

    def refused(self, name: str, principal: Principal, fault: Fault, *, turn: str = "") -> None:
        self.refusals.append((name, fault))


class FakeMeter:
    """Counts what the front refuses by itself."""

    def __init__(self) -> None:
        self.refusals: list[Fault] = []

    def refused(self, fault: Fault) -> None:
        self.refusals.append(fault)


class FakeTokens:
    """Tokens by principal."""

    def __init__(self, known: dict[str, Principal]) -> None:
        self.known = known

    def principal(self, token: str) -> Principal | None:
        return self.known.get(token)


class Stage:
    """A front that serves, and what stands behind it."""

    def __init__(self, tools: Sequence[Tool], settings: Settings | None, tokens: FakeTokens | None) -> None:
        self.registry = FakeRegistry(tools)
        names = dict.fromkeys(each.key.upstream for each in self.registry.known.values())
        upstreams = tuple(UpstreamSettings(name=name, command=("/bin/true",)) for name in names)
        self.settings = settings or Settings(upstreams=upstreams)
        self.runs = FakeRuns()
        self.upstreams = FakeUpstreams()
        self.audit = FakeAudit()
        self.told = Told(self.registry)
        self.meter = FakeMeter()
        guard = PinnedGuard(self.settings)
        self.rooms = Rooms(self.registry, self.runs, self.upstreams, self.audit, guard, self.meter, tokens)
        self.url = ""
        self.client = httpx.AsyncClient(timeout=10)

    def headers(self, method: str, name: str | None = None) -> dict[str, str]:
        named = {} if name is None else {"mcp-name": name}
        return {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "mcp-protocol-version": REVISION,
            "mcp-method": method,
            **named,
        }

    async def ask(
        self, method: str, params: JsonObject | None = None, *, headers: dict[str, str] | None = None, **meta: Any
    ) -> httpx.Response:
        """One request of the newer revision."""
        params = dict(params or {})
        envelope = {RESERVED + "protocolVersion": REVISION, RESERVED + "clientCapabilities": {}}
        params["_meta"] = {**envelope, **params.get("_meta", {}), **meta}
        name = params.get("name") or params.get("uri")
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        sent = {**self.headers(method, name), **(headers or {})}
        return await self.client.post(self.url, json=body, headers=sent)

    async def call(self, name: str, arguments: JsonObject | None = None, **more: Any) -> httpx.Response:
        return await self.ask("tools/call", {"name": name, "arguments": arguments or {}}, **more)


@asynccontextmanager
async def serving(
    tools: Sequence[Tool] = (), *, settings: Settings | None = None, tokens: FakeTokens | None = None
) -> AsyncIterator[Stage]:
    """A stage whose front serves on a free port of loopback."""
    stage = Stage(tools or [tool("echo")], settings, tokens)
    front = McpFront(stage.settings, stage.rooms, stage.told)
    bound = bind("127.0.0.1", 0, "front.")
    stage.url = f"http://127.0.0.1:{bound.getsockname()[1]}/mcp"
    async with front.serving(bound), stage.client:
        yield stage
