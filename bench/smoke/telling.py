"""A replica's answer that writes a tool call, and the tools gateway that is told of it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from bench.smoke.wire import Stream, event

from turnwise.tools_gateway.messages import VERSION, Hello, encode

TOOL = "search"
TOOLS = [{"type": "function", "function": {"name": TOOL, "parameters": {"type": "object", "properties": {"text": {}}}}}]
"""What requests offer."""


def tool_call() -> Stream:
    """A stream whose events are pieces of one call's arguments."""
    return Stream(
        first=event(_piece('{"text":"', id="call_1", type="function", name=TOOL)),
        each=event(_piece(" word")),
        last=event(_piece('"}')) + event("{}", "tool_calls"),
    )


def _piece(arguments: str, name: str = "", **fields: str) -> str:
    function = {**({"name": name} if name else {}), "arguments": arguments}
    return json.dumps({"tool_calls": [{"index": 0, **fields, "function": function}]})


class _Listener(asyncio.Protocol):
    """Greets and reads no further: what it is told in a scene fits into the socket, and its reads must not be counted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        both = cast("asyncio.Transport", transport)
        both.write(encode(Hello(VERSION, "bench-smoke")))
        both.pause_reading()


@asynccontextmanager
async def listening() -> AsyncIterator[str]:
    """Give the path of a socket at which somebody listens."""
    with tempfile.TemporaryDirectory(prefix="turnwise-") as folder:
        path = str(Path(folder, "tools.sock"))
        server = await asyncio.get_running_loop().create_unix_server(_Listener, path)
        try:
            yield path
        finally:
            server.close()
