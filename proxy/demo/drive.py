"""Plays the demo's programs against a base URL, as agents would: call, run the tools, call again with their results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import msgspec

from turnwise import names
from turnwise.engines.sim.tool_choice import HEADER_TOOL_CALLS
from turnwise.proxy.demo.tools import Tools, connected
from turnwise.proxy.demo.workload import MAX_TOKENS, Program


class CallRecord(msgspec.Struct, frozen=True):
    """One call as its client saw it; times in seconds since the program began."""

    program: str
    turn: int
    began_s: float
    first_token_s: float
    """From sending the call to its first token."""
    ended_s: float
    prompt_tokens: int
    cached_tokens: int
    tools: tuple[str, ...]
    """Those that the answer called."""
    tool_s: float
    """How long the agent waited for the last of their results."""
    placement: dict[str, str]


class DemoError(Exception):
    """The fleet answered something that no agent could work with."""


class Scene(msgspec.Struct, frozen=True):
    """Where agents play, and what they call."""

    url: str
    """Of the proxy."""
    model: str
    tools_url: str
    """Of the MCP server whose tools they offer besides their own, and call."""
    calls: tuple[str, ...]
    """Tools that every turn calls, in the order in which the model writes them."""
    max_live: int
    """Programs that run at once."""


async def play(scene: Scene, workload: Sequence[Program], on_call: Callable[[CallRecord], None]) -> list[list[CallRecord]]:
    """Run all programs; one list of records for each, in the order of `workload`.

    Raises `DemoError` where a call fails, `ToolError` where a tool does.
    """
    gate = asyncio.Semaphore(scene.max_live)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
    async with aiohttp.ClientSession(base_url=scene.url, timeout=timeout) as http:

        async def one(program: Program) -> list[CallRecord]:
            await asyncio.sleep(program.starts_after_s)
            async with gate, connected(scene.tools_url) as tools:
                return await _Agent(http, scene, program, tools).play(on_call)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(program)) for program in workload]
    return [task.result() for task in tasks]


class _Agent:
    """One program being played."""

    def __init__(self, http: aiohttp.ClientSession, scene: Scene, program: Program, tools: Tools) -> None:
        self._http = http
        self._scene = scene
        self._program = program
        self._tools = tools
        self._messages: list[dict[str, Any]] = [*program.agent.head, {"role": "user", "content": program.goal}]
        self._start = time.monotonic()

    async def play(self, on_call: Callable[[CallRecord], None]) -> list[CallRecord]:
        """Every turn of the program."""
        records: list[CallRecord] = []
        for number in range(1, len(self._program.turns) + 1):
            is_last = number == len(self._program.turns)
            record = await self._turn(number, () if is_last else self._scene.calls)
            records.append(record)
            on_call(record)
        return records

    async def _turn(self, number: int, asked: Sequence[str]) -> CallRecord:
        """One call, and the tools that its answer calls."""
        began = time.monotonic()
        answer = await self._call(asked)
        ended = time.monotonic()
        called = answer.message.get("tool_calls") or []
        results = await self._tools.run(called)
        tool_s = time.monotonic() - ended
        self._messages.append(answer.message)
        self._messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": result}
            for call, result in zip(called, results, strict=True)
        ]
        return CallRecord(
            program=self._program.name,
            turn=number,
            began_s=began - self._start,
            first_token_s=answer.first_token_at - began,
            ended_s=ended - self._start,
            prompt_tokens=answer.usage["prompt_tokens"],
            cached_tokens=(answer.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            tools=tuple(call["function"]["name"] for call in called),
            tool_s=tool_s if called else 0.0,
            placement=answer.placement,
        )

    async def _call(self, asked: Sequence[str]) -> _Answer:
        model, program = self._scene.model, self._program
        body = chat_body(model, program, self._messages, num_tools=len(asked), more_tools=self._tools.functions)
        headers = {HEADER_TOOL_CALLS: ",".join(asked) or "0", names.HEADER_DEBUG.decode(): "1"}
        async with self._http.post("/v1/chat/completions", json=body, headers=headers) as response:
            if response.status != 200:
                raise DemoError(f"{program.name}: HTTP {response.status}: {(await response.text())[:300]}")
            reply = Reply()
            first_token_at: float | None = None
            async for line in response.content:
                reply.feed(line)
                if first_token_at is None and reply.has_token:
                    first_token_at = time.monotonic()
            if reply.usage is None or first_token_at is None:
                raise DemoError(f"{program.name}: the answer broke off")
            placement = _fields(response.headers.get(names.HEADER_PLACEMENT.decode(), ""))
            return _Answer(message=reply.message, usage=reply.usage, first_token_at=first_token_at, placement=placement)


class _Answer(msgspec.Struct):
    message: dict[str, Any]
    usage: dict[str, Any]
    first_token_at: float
    placement: dict[str, str]


class Reply:
    """Assembles one streamed chat answer from its lines, as an agent's SDK does."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        self.has_token = False
        self._content: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}

    def feed(self, line: bytes) -> None:
        """Take one line of the stream; raises `DemoError` on an error event."""
        if not line.startswith(b"data: {"):
            return
        event = msgspec.json.decode(line[6:])
        if "error" in event:
            raise DemoError(str(event["error"].get("message")))
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices", ()):
            delta = choice.get("delta", {})
            self.has_token = self.has_token or bool(delta.get("content") or delta.get("tool_calls"))
            self._content.append(delta.get("content") or "")
            for part in delta.get("tool_calls") or ():
                self._add(part)

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message, as the next turn carries it."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._content) or None}
        if self._calls:
            message["tool_calls"] = list(self._calls.values())
        return message

    def _add(self, part: dict[str, Any]) -> None:
        function = part.get("function", {})
        fresh = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self._calls.setdefault(part["index"], fresh)
        call["id"] = part.get("id") or call["id"]
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def chat_body(
    model: str,
    program: Program,
    messages: list[dict[str, Any]],
    *,
    num_tools: int,
    more_tools: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Body of one streamed call of a program, whose answer has room for `num_tools` tool calls."""
    return {
        "model": model,
        "messages": messages,
        "tools": [*program.agent.tools, *more_tools],
        "max_tokens": MAX_TOKENS * 8 * num_tools or MAX_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _fields(placement: str) -> dict[str, str]:
    """The `key=value` fields of the debug header."""
    return dict(field.split("=", 1) for field in placement.split() if "=" in field)
