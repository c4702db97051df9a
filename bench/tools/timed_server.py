"""An MCP server on stdio whose tools take a given time and nothing else; a program of its own: `timed_server.py TOOLS.json`.

TOOLS.json maps names to `{"seconds": 1.5, "schema": {...}}`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool


async def serve(tools: dict[str, Any]) -> None:
    """Answer until standard input closes."""
    offered = [
        Tool(name=name, description=f"Takes {tool['seconds']} s.", input_schema=tool["schema"]) for name, tool in tools.items()
    ]

    async def list_tools(_: Any, __: Any) -> ListToolsResult:
        return ListToolsResult(tools=offered)

    async def call_tool(_: Any, params: Any) -> CallToolResult:
        await anyio.sleep(tools[params.name]["seconds"])
        return CallToolResult(content=[TextContent(type="text", text=f"{params.name} is done")])

    server = Server("timed", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(serve, json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
