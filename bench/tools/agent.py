"""An agent as they are: streams chat from its `base_url`, calls what the answer asks for on its MCP server, and asks again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import msgspec
from mcp import Client

TIMEOUT_S = 60.0
SYSTEM = {"role": "system", "content": "You use tools, several at once where they do not depend on each other."}
DONE = b"[DONE]"


class Run(msgspec.Struct, frozen=True):
    """What one goal took; seconds since it was given."""

    closed_s: tuple[float, ...]
    """When the arguments of each tool call had come."""
    turn_s: float
    """When the answer that calls them had ended."""
    answered_s: tuple[float, ...]
    """How long the MCP server took for each."""
    tools_s: float
    """When all had answered."""
    ftr_s: float
    """When the first text of the final answer came."""


class Agent:
    """Reaches goals through one proxy, with the tools of one MCP server. `ask` is where chat is answered."""

    def __init__(self, ask: str, http: httpx.AsyncClient, server: Client, tools: Sequence[dict[str, Any]]) -> None:
        self._ask = ask
        self._http = http
        self._server = server
        self._tools = tools

    async def reach(self, goal: str, calls: Sequence[str]) -> Run:
        """Reach a goal whose first answer calls these tools; raises `RuntimeError` where it does not, or one fails."""
        began = time.monotonic()
        turns: list[dict[str, Any]] = [SYSTEM, {"role": "user", "content": goal}]
        asked = _Asked(began)
        async for chunk in self._stream(goal, turns, ",".join(calls)):
            asked.take(chunk)
        turn_s = time.monotonic() - began
        if [call["function"]["name"] for call in asked.calls] != list(calls):
            raise RuntimeError(f"the answer calls {[call['function']['name'] for call in asked.calls]}, not {list(calls)}")
        answers = await asyncio.gather(*(self._call(call) for call in asked.calls))
        tools_s = time.monotonic() - began
        turns += [{"role": "assistant", "content": None, "tool_calls": asked.calls}, *(answer for answer, _ in answers)]
        ftr_s = None
        async for chunk in self._stream(goal, turns, "0"):
            if ftr_s is None and any(choice["delta"].get("content") for choice in chunk["choices"]):
                ftr_s = time.monotonic() - began
        if ftr_s is None:
            raise RuntimeError("the final answer has no text")
        return Run(asked.closed, turn_s, tuple(seconds for _, seconds in answers), tools_s, ftr_s)

    async def _call(self, call: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
        """Call a tool of the MCP server; the turn that brings its result, and how long that took."""
        began = time.monotonic()
        function = call["function"]
        result = await self._server.call_tool(function["name"], msgspec.json.decode(function["arguments"]))
        if result.is_error:
            raise RuntimeError(f"{function['name']} failed: {result.content}")
        text = "".join(getattr(part, "text", "") for part in result.content)
        return {"role": "tool", "tool_call_id": call["id"], "content": text}, time.monotonic() - began

    async def _stream(self, program: str, turns: Sequence[dict[str, Any]], calls: str) -> AsyncIterator[dict[str, Any]]:
        """The chunks of one answer; `calls` are what the embedded engine shall call."""
        body = {"model": "sim", "messages": turns, "tools": self._tools, "stream": True}
        headers = {"x-turnwise-program": program, "x-sim-tool-calls": calls}
        async with self._http.stream("POST", self._ask, json=body, headers=headers) as answer:
            if answer.status_code != 200:
                raise RuntimeError(f"{answer.status_code}: {(await answer.aread()).decode(errors='replace')}")
            async for line in answer.aiter_lines():
                data = line.removeprefix("data:").strip().encode()
                if data and data != DONE:
                    yield msgspec.json.decode(data)


class _Asked:
    """Puts the tool calls of an answer together, and notes when each was whole."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._last: list[float] = []
        self.calls: list[dict[str, Any]] = []

    @property
    def closed(self) -> tuple[float, ...]:
        """When the last piece of each came."""
        return tuple(self._last)

    def take(self, chunk: Mapping[str, Any]) -> None:
        for choice in chunk["choices"]:
            for piece in choice["delta"].get("tool_calls") or ():
                place = piece["index"]
                if place == len(self.calls):
                    function = {"name": piece["function"]["name"], "arguments": ""}
                    self.calls.append({"id": piece["id"], "type": "function", "function": function})
                    self._last.append(0.0)
                self.calls[place]["function"]["arguments"] += piece["function"].get("arguments") or ""
                self._last[place] = time.monotonic() - self._began
