"""An MCP server that breaks when it is asked to: over stdio, or over HTTP on a port of loopback.

    python -P faulty_server.py [--port PORT [--stream]]

Written with the SDK, so that what it says is what servers say; only its faults are written past it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("faulty")
OUTPUT = os.dup(1)
"""The SDK keeps its own copy and leads everything else that is printed to the error output."""


@server.tool()
def echo(text: str) -> str:
    """Say the same."""
    return text


@server.tool()
async def work(seconds: float) -> str:
    """Take a while."""
    await asyncio.sleep(seconds)
    return "done"


@server.tool()
async def report(steps: int, ctx: Context) -> str:
    """Tell of progress on the way."""
    for step in range(steps):
        await ctx.report_progress(step + 1, steps)
    return "reported"


@server.tool()
def surroundings() -> dict[str, object]:
    """What the program was given."""
    return {
        "environment": dict(os.environ),
        "descriptors": sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir() if entry.exists()),
        "folder": str(Path.cwd()),
        "group": os.getpgrp(),
        "pid": os.getpid(),
    }


@server.tool()
def child() -> int:
    """Start a program that outlives this one; its process id."""
    return subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid


@server.tool()
def crash() -> str:
    """End at once."""
    os._exit(3)


@server.tool()
def hang(seconds: float) -> str:
    """Answer nothing at all for a while."""
    time.sleep(seconds)
    return "back"


@server.tool()
def large(num_bytes: int) -> str:
    """Answer with so much."""
    return "x" * num_bytes


@server.tool()
def noise(num_bytes: int, newline_every: int = 0) -> str:
    """Write what is no MCP to the output, in lines or as one."""
    chunk = b"\xff\x00{" * 21_845
    written = 0
    while written < num_bytes:
        written += os.write(OUTPUT, chunk[:newline_every] + b"\n" if newline_every else chunk)
    return "noisy"


@server.tool()
def complain(line: str) -> str:
    """Write to the error output."""
    print(line, file=sys.stderr, flush=True)
    return "complained"


@server.tool()
async def grow(ctx: Context) -> str:
    """Offer one more tool, and say so."""
    server.add_tool(lambda: "new", name="grown", description="Was not there before.")
    await ctx.session.send_tool_list_changed()
    await ctx.notify_tools_changed()
    return "grown"


class Flooding:
    """Stands before the SDK's application: a call of `flood` is told of progress without end, a write for each, as it is read.

    The SDK writes some 2,000 notifications a second and takes a core for that.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request, or the life of the server."""
        if (b"mcp-name", b"flood") not in scope.get("headers", ()):
            await self._application(scope, receive, send)
            return
        token = json.loads((await receive())["body"])["params"]["_meta"]["progressToken"]
        params = {"progressToken": token, "progress": 1, "total": 10**12}
        told = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        event = f"event: message\r\ndata: {told}\r\n\r\n".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        left = asyncio.create_task(receive())
        while not left.done():
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(0)


def main() -> None:
    """Serve until the input ends, or for ever over HTTP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int)
    parser.add_argument("--stream", action="store_true", help="answer by streams of events")
    args = parser.parse_args()
    if args.port is None:
        server.run("stdio")
    else:
        application = Flooding(server.streamable_http_app(json_response=not args.stream))
        uvicorn.run(application, host="127.0.0.1", port=args.port, log_level="info")


if __name__ == "__main__":
    main()
