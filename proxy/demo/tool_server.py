"""`python -m turnwise.proxy.demo.tool_server FOLDER`: the demo's MCP server, over stdio, as the tools gateway starts it.

Its tools read, search and count the pages of `corpus`, and write notes; each takes as long as it would from far away.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from turnwise.proxy.demo.corpus import NUM_PAGES, path_of, seconds

SEARCH_S, COUNT_S, NOTE_S = 0.4, 0.1, 0.1
MAX_HITS = 20
NOTES = "notes.txt"
READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)

Number = Annotated[int, Field(ge=1, le=NUM_PAGES, description="Number of the page.")]
Question = Annotated[str, Field(min_length=80, max_length=400, description="What to look for, in a sentence or two.")]
Line = Annotated[str, Field(min_length=20, max_length=400, description="What to remember.")]


def server(folder: Path) -> MCPServer:
    """The server of the pages in `folder`."""
    mcp = MCPServer("corpus", instructions="Read and search the pages of this project, and take notes.")
    waits = seconds(folder)

    @mcp.tool(annotations=READS, structured_output=False)
    async def page(number: Number) -> str:
        """Read one page."""
        await asyncio.sleep(waits[number - 1])
        return path_of(folder, number).read_text()

    @mcp.tool(annotations=READS, structured_output=False)
    async def search(question: Question) -> str:
        """Find the lines of all pages that hold a word of the question."""
        await asyncio.sleep(SEARCH_S)
        wanted = set(question.lower().replace(".", " ").split())
        hits = [
            f"page {number}, line {at}: {line}"
            for number in range(1, NUM_PAGES + 1)
            for at, line in enumerate(path_of(folder, number).read_text().splitlines(), 1)
            if wanted & set(line.split())
        ]
        return "\n".join([*hits[:MAX_HITS], f"{len(hits)} lines in all"])

    @mcp.tool(annotations=READS, structured_output=False)
    async def count(number: Number) -> str:
        """Count the lines and words of one page."""
        await asyncio.sleep(COUNT_S)
        text = path_of(folder, number).read_text()
        return f"page {number}: {len(text.splitlines())} lines, {len(text.split())} words"

    @mcp.tool(annotations=WRITES, structured_output=False)
    async def note(text: Line) -> str:
        """Write a line into the notes."""
        await asyncio.sleep(NOTE_S)
        with (folder / NOTES).open("a") as notes:
            notes.write(f"{text}\n")
        return "noted"

    return mcp


if __name__ == "__main__":
    server(Path(sys.argv[1])).run()
