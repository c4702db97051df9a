"""The tools of one agent of the demo: an ordinary MCP client of the tools gateway, whose tools it offers to the model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from mcp import Client
from mcp_types import TextContent, Tool


class ToolError(Exception):
    """A tool answered with an error, which none of the demo's does."""


class Tools:
    """What an agent may call; `functions` are as a request to the model offers them."""

    def __init__(self, client: Client, tools: Sequence[Tool]) -> None:
        self._client = client
        self.functions = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema},
            }
            for tool in tools
        ]

    async def run(self, calls: Sequence[dict[str, Any]]) -> list[str]:
        """Run the tool calls of one answer at once; their results in order. Raises `ToolError`."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._run(call["function"])) for call in calls]
        return [task.result() for task in tasks]

    async def _run(self, function: dict[str, Any]) -> str:
        result = await self._client.call_tool(function["name"], msgspec.json.decode(function["arguments"]))
        text = "\n".join(part.text for part in result.content if isinstance(part, TextContent))
        if result.is_error:
            raise ToolError(f"{function['name']}: {text}")
        return text


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Tools]:
    """The tools of the MCP server at `url`."""
    async with Client(url) as client:
        yield Tools(client, (await client.list_tools()).tools)
