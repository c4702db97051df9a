"""The house that the agents of compose.yaml's profile `sim` keep, as an MCP server over stdio that the tools gateway starts."""

from __future__ import annotations

import asyncio
import random

from mcp.server.mcpserver import MCPServer

READ_S = (0.1, 1.0)
"""Least and most time of a run."""

house = MCPServer("house")


@house.tool(structured_output=False)
async def read_file(path: str) -> str:
    """Read a file of the house."""
    await asyncio.sleep(random.uniform(*READ_S))
    return f"{path}: " + "It is all there. " * random.randrange(5, 60)


if __name__ == "__main__":
    house.run()
