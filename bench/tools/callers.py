"""Calls one tool over HTTP in the 2026-07-28 revision, as fast as it is answered, on raw connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

RESERVED = "io.modelcontextprotocol/"
REVISION = "2026-07-28"
PATIENCE_S = 60.0


class WrongAnswer(Exception):
    """What came back is not what was asked for."""


def request(port: int, tool: str, text: str) -> bytes:
    """One call with head and body."""
    meta = {
        RESERVED + "protocolVersion": REVISION,
        RESERVED + "clientCapabilities": {},
        RESERVED + "clientInfo": {"name": "bench", "version": "1"},
    }
    params = {"name": tool, "arguments": {"text": text}, "_meta": meta}
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: application/json, text/event-stream\r\n"
        f"content-type: application/json\r\nmcp-protocol-version: {REVISION}\r\nmcp-method: tools/call\r\n"
        f"mcp-name: {tool}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(port: int, tool: str, text: str, *, calls: int, connections: int) -> None:
    """Make `calls` calls, as many at once as there are connections; raises `WrongAnswer` where one is not answered well."""
    sent = request(port, tool, text)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        for number in range(connections):
            share = len(range(number, calls, connections))
            group.create_task(_call_again_and_again(port, sent, text, share))


async def _call_again_and_again(port: int, sent: bytes, text: str, calls: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(calls):
            writer.write(sent)
            _check(await _answer(reader), text)
    finally:
        writer.close()
        await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = next((line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")), None)
    if not head.startswith(b"http/1.1 200") or length is None:
        raise WrongAnswer(head.decode(errors="replace"))
    return await reader.readexactly(int(length))


def _check(body: bytes, text: str) -> None:
    content: Sequence[object] = msgspec.json.decode(body).get("result", {}).get("content", ())
    if list(content) != [{"type": "text", "text": text}]:
        raise WrongAnswer(body[:500].decode(errors="replace"))
