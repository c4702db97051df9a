"""How long a program that is a tool server takes to its first answer with no gateway before it."""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence

from turnwise.tools_gateway.upstreams import jsonrpc

PATIENCE_S = 60.0


async def bare_start(command: Sequence[str]) -> float:
    """Seconds from its start to its answer to a call of `echo`; raises `TimeoutError`, and `ValueError` for no answer."""
    params = jsonrpc.outgoing({"name": "echo", "arguments": {"text": "up"}}, jsonrpc.MODERN, {}, None)
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(jsonrpc.encode_request(1, "tools/call", params) + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            answer = jsonrpc.decode(await process.stdout.readline())
        took_s = time.monotonic() - began
        if answer.result is None or answer.result.get("isError"):
            raise ValueError(f"no answer of a tool server: {answer}")
        return took_s
    finally:
        process.kill()
        await process.wait()
