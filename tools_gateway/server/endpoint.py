"""The MCP endpoint: the SDK's server with the gateway behind it, and the way of a request past the door."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import INVALID_REQUEST, PARSE_ERROR

from turnwise import strict_json
from turnwise.tools_gateway.ports import Audit, Meter
from turnwise.tools_gateway.server.asgi import Gone, Receive, Scope, Send, TooLarge, read_body, replayed, send_json
from turnwise.tools_gateway.server.calls import failed
from turnwise.tools_gateway.server.direct import REVISION, DirectCalls
from turnwise.tools_gateway.server.door import PRINCIPAL
from turnwise.tools_gateway.server.handlers import Handlers
from turnwise.tools_gateway.settings import Limits
from turnwise.tools_gateway.values import Fault

ENVELOPE_DEPTH = 3
"""How deep the arguments of a call stand in its body."""


class Sessions(StreamableHTTPSessionManager):
    """Sessions of the older revision, of which each of `num_tenants` may hold its share and no more."""

    num_tenants = 1

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        # The SDK bounds all together and gives no other way to bound some of them.
        assert self.max_sessions is not None
        most = max(1, self.max_sessions // max(1, self.num_tenants))
        if sum(owner == requestor for owner in self._session_owners.values()) >= most:
            return None
        return super()._admit_session(requestor)


class Endpoint:
    """Serves MCP in both revisions (ASGI), for requests that a `Door` let through."""

    def __init__(
        self, handlers: Handlers, direct: DirectCalls, audit: Audit, meter: Meter, limits: Limits, num_tenants: int
    ) -> None:
        self._direct = direct
        self._audit = audit
        self._meter = meter
        self._limits = limits
        self._manager = Sessions(
            handlers.server,
            session_idle_timeout=limits.session_idle_s,
            max_request_body_size=limits.max_body_bytes,
            max_sessions=limits.max_sessions,
        )
        self._manager.num_tenants = num_tenants

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the sessions of the older revision while it lasts."""
        async with self._manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["method"] == "POST":
            try:
                body = await read_body(dict(scope["headers"]), receive, self._limits.max_body_bytes)
            except TooLarge:
                await self._is_too_large(scope, send)
                return
            except Gone:
                return
            if await self._is_answered(body, scope, receive, send):
                return
            receive = replayed(body, receive)
        await self._manager.handle_request(scope, receive, send)

    async def _is_answered(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> bool:
        limits = self._limits
        try:
            parsed = strict_json.read(body, max_bytes=limits.max_body_bytes, max_depth=limits.max_depth + ENVELOPE_DEPTH)
        except strict_json.NotStrict as why:
            return await self._is_refused(body, str(why), scope, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("mcp-protocol-version") != REVISION or headers.get("mcp-method") != "tools/call":
            return False
        return await self._direct.serve(headers, parsed, scope, receive, send)

    async def _is_too_large(self, scope: Scope, send: Send) -> None:
        """Say so in the protocol's words; what the body asks is known by its headers alone, and its id not at all."""
        headers = dict(scope["headers"])
        name = headers.get(b"mcp-name") or headers.get(b"mcp-method") or b""
        self._refuse(name.decode("latin-1"), scope, Fault.TOO_LARGE)
        error = {"code": INVALID_REQUEST, "message": f"A request may have {self._limits.max_body_bytes} bytes."}
        await send_json(send, 413, {"jsonrpc": "2.0", "id": None, "error": error})

    def _refuse(self, name: str, scope: Scope, fault: Fault) -> None:
        self._meter.refused(fault)
        self._audit.refused(name, scope[PRINCIPAL], fault)

    async def _is_refused(self, body: bytes, why: str, scope: Scope, send: Send) -> bool:
        """Say what is wrong with a body that some would read, to the model where it calls a tool; False for no JSON at all."""
        try:
            lenient = json.loads(body)
        except ValueError:
            self._refuse("", scope, Fault.BAD_ARGUMENTS)
            return False
        except RecursionError:
            lenient = None
        called = _called(lenient)
        self._refuse("" if called is None else called[1], scope, Fault.BAD_ARGUMENTS)
        if called is None:
            error = {"code": PARSE_ERROR, "message": f"Parse error: {why}"}
            await send_json(send, 400, {"jsonrpc": "2.0", "id": None, "error": error})
            return True
        number, _ = called
        result = {"resultType": "complete", **failed(f"The call cannot be read: {why}.")}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": number, "result": result})
        return True


def _called(body: Any) -> tuple[str | int, str] | None:
    """The id and the tool of a body that is a tool call."""
    if not isinstance(body, dict) or body.get("method") != "tools/call":
        return None
    number, params = body.get("id"), body.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    return (number, name) if isinstance(number, str | int) and isinstance(name, str) else None
