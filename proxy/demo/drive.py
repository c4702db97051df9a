"""Plays the demo's programs against a base URL, as agents would: call, run the tool, call again with its result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import msgspec

from turnwise import names
from turnwise.engines.sim.tool_choice import HEADER_TOOL_CALLS
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
    tool_name: str | None
    tool_s: float
    placement: dict[str, str]


class DemoError(Exception):
    """The fleet answered something that no agent could work with."""


async def play(
    url: str, model: str, workload: Sequence[Program], *, max_live: int, on_call: Callable[[CallRecord], None]
) -> list[list[CallRecord]]:
    """Run all programs, at most `max_live` at once; one list of records for each program, in the order of `workload`.

    Raises `DemoError` where a call fails.
    """
    gate = asyncio.Semaphore(max_live)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
    async with aiohttp.ClientSession(base_url=url, timeout=timeout) as http:

        async def one(program: Program) -> list[CallRecord]:
            await asyncio.sleep(program.starts_after_s)
            async with gate:
                return await _play_one(http, model, program, on_call)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(program)) for program in workload]
    return [task.result() for task in tasks]


async def _play_one(
    http: aiohttp.ClientSession, model: str, program: Program, on_call: Callable[[CallRecord], None]
) -> list[CallRecord]:
    messages: list[dict[str, Any]] = [*program.agent.head, {"role": "user", "content": program.goal}]
    records: list[CallRecord] = []
    start = time.monotonic()
    for number, turn in enumerate(program.turns, 1):
        is_last = number == len(program.turns)
        began = time.monotonic()
        answer = await _call(http, model, program, messages, num_tools=0 if is_last else 1)
        called = answer.message.get("tool_calls") or []
        record = CallRecord(
            program=program.name,
            turn=number,
            began_s=began - start,
            first_token_s=answer.first_token_at - began,
            ended_s=time.monotonic() - start,
            prompt_tokens=answer.usage["prompt_tokens"],
            cached_tokens=(answer.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            tool_name=called[0]["function"]["name"] if called else None,
            tool_s=turn.tool_s if called else 0.0,
            placement=answer.placement,
        )
        records.append(record)
        on_call(record)
        if not called:
            break
        await asyncio.sleep(turn.tool_s)
        messages.append(answer.message)
        messages.extend({"role": "tool", "tool_call_id": call["id"], "content": turn.result} for call in called)
    return records


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


def chat_body(model: str, program: Program, messages: list[dict[str, Any]], *, num_tools: int) -> dict[str, Any]:
    """Body of one streamed call of a program."""
    return {
        "model": model,
        "messages": messages,
        "tools": program.agent.tools,
        "max_tokens": MAX_TOKENS * 8 if num_tools else MAX_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def _call(
    http: aiohttp.ClientSession, model: str, program: Program, messages: list[dict[str, Any]], *, num_tools: int
) -> _Answer:
    body = chat_body(model, program, messages, num_tools=num_tools)
    headers = {HEADER_TOOL_CALLS: str(num_tools), names.HEADER_DEBUG.decode(): "1"}
    async with http.post("/v1/chat/completions", json=body, headers=headers) as response:
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
        placement = response.headers.get(names.HEADER_PLACEMENT.decode(), "")
        return _Answer(message=reply.message, usage=reply.usage, first_token_at=first_token_at, placement=_fields(placement))


def _fields(placement: str) -> dict[str, str]:
    """The `key=value` fields of the debug header."""
    return dict(field.split("=", 1) for field in placement.split() if "=" in field)
