"""The yardstick: an MCP server of the SDK's that hands each call to a client of the SDK's, and does nothing else.

`python -m bench.tools.sdk_relay PORT stdio COMMAND...`, or `... PORT http URL`. It speaks to clients and upstream in the newest
revision that these speak, and answers in JSON where there is nothing to stream, which is the cheapest that it can.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import uvicorn
from mcp import Client, StdioServerParameters
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

Context = ServerRequestContext[Client, Any]


def main() -> None:
    """Serve until told to stop."""
    port, kind, *rest = sys.argv[1:]
    upstream: Any = rest[0] if kind == "http" else StdioServerParameters(command=rest[0], args=rest[1:])

    @asynccontextmanager
    async def lifespan(_server: Server[Client]) -> AsyncIterator[Client]:
        async with Client(upstream) as client:
            yield client

    async def list_tools(ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return await ctx.lifespan_context.list_tools()

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        return await ctx.lifespan_context.call_tool(params.name, params.arguments or {})

    server: Server[Client] = Server("relay", lifespan=lifespan, on_list_tools=list_tools, on_call_tool=call_tool)
    app = server.streamable_http_app(json_response=True)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
