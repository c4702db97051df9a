"""The answer to one request of the 2026-07-28 revision: JSON where nothing was told before it, an event stream otherwise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp_types import INTERNAL_ERROR

from turnwise.tools_gateway.server.asgi import Receive, Send, send_json
from turnwise.tools_gateway.server.faults import as_error
from turnwise.tools_gateway.values import JsonObject, ToolFault

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0
"""After which a silent stream says that it lives: what stands between may close an idle one, and that cancels the call."""
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Answering:
    """Runs what gives the result, and writes; a client that leaves cancels it.

    `stamp` is what the server says of itself in each result.
    """

    def __init__(self, number: str | int, stamp: JsonObject, receive: Receive, send: Send) -> None:
        self._number = number
        self._stamp = stamp
        self._receive = receive
        self._send = send
        self._is_stream = False

    async def tell(self, method: str, params: JsonObject) -> None:
        """Write a notification; the answer is a stream from then on."""
        await self._write({"jsonrpc": "2.0", "method": method, "params": params})

    async def run(self, work: Coroutine[Any, Any, JsonObject]) -> None:
        """Await the result and write it as the answer, or what is wrong with the request."""
        task = asyncio.ensure_future(work)
        left = asyncio.ensure_future(self._receive())
        try:
            while not task.done() and not left.done():
                done, _ = await asyncio.wait({task, left}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    await self._start_stream()
                    await self._send({"type": "http.response.body", "body": b": still here\r\n\r\n", "more_body": True})
            if task.done():
                await self._finish(task)
        finally:
            for pending in (task, left):
                if not pending.done():
                    pending.cancel()
            await asyncio.gather(task, left, return_exceptions=True)

    async def _finish(self, task: asyncio.Future[JsonObject]) -> None:
        answer: JsonObject = {"jsonrpc": "2.0", "id": self._number}
        status = 200
        try:
            result = task.result()
        except ToolFault as fault:
            answer["error"] = error = as_error(fault)
            status = ERROR_CODE_HTTP_STATUS.get(error["code"], 200)
        except Exception:
            logger.exception("a tool call failed within the gateway")
            answer["error"] = {"code": INTERNAL_ERROR, "message": "The tools gateway failed; this is no fault of the call."}
        else:
            meta = result.get("_meta")
            kept = meta if isinstance(meta, dict) else {}
            answer["result"] = {"resultType": "complete", **result, "_meta": {**kept, SERVER_INFO: self._stamp}}
        if self._is_stream:
            await self._write(answer)
            await self._send({"type": "http.response.body", "body": b""})
        else:
            await send_json(self._send, status, answer)

    async def _start_stream(self) -> None:
        if not self._is_stream:
            self._is_stream = True
            await self._send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})

    async def _write(self, message: JsonObject) -> None:
        await self._start_stream()
        event = b"event: message\r\ndata: " + msgspec.json.encode(message) + b"\r\n\r\n"
        await self._send({"type": "http.response.body", "body": event, "more_body": True})
