"""All tools of an upstream, page after page."""

from __future__ import annotations

import math

from turnwise.tools_gateway.upstreams.connection import Connection
from turnwise.tools_gateway.upstreams.jsonrpc import METHOD_NOT_FOUND
from turnwise.tools_gateway.values import MAX_TOOLS, Fault, JsonObject, Request, ToolFault

MAX_PAGES = 100
"""More than `MAX_TOOLS` fill: whoever has more pages is taken for broken."""


async def list_tools(connection: Connection, name: str) -> list[JsonObject]:
    """Their definitions as they came, none where the upstream has no tools; raises `ToolFault`.

    No page is asked for beyond `MAX_TOOLS`: the registry leaves those out, and says so.
    """
    if "tools" not in connection.greeting.capabilities:
        return []
    found: list[JsonObject] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        params = {} if cursor is None else {"cursor": cursor}
        try:
            page = await connection.ask(Request("tools/list", params, math.inf))
        except ToolFault as fault:
            if fault.error is not None and fault.error.get("code") == METHOD_NOT_FOUND:
                return []
            raise
        tools, cursor = page.get("tools"), page.get("nextCursor")
        if not isinstance(tools, list) or not all(
            isinstance(tool, dict) and isinstance(tool.get("name"), str) for tool in tools
        ):
            raise ToolFault(Fault.UPSTREAM_BROKE, f"{name} lists what are no tools")
        found += tools
        if not isinstance(cursor, str) or not cursor or len(found) > MAX_TOOLS:
            return found
    raise ToolFault(Fault.UPSTREAM_BROKE, f"{name} lists pages without end")
