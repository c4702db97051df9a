"""Tool calls of the 2026-07-28 revision, answered without the SDK: its front costs more than all that the gateway does itself.

Only a request that is right in every way is served here. Whatever is amiss goes on to the SDK as it came, which says so in the
words of the protocol.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from mcp.shared.inbound import (
    decode_header_value,
    find_duplicated_routing_header,
    validate_mcp_param_headers,
    x_mcp_header_map,
)

from turnwise.tools_gateway.ports import Registry
from turnwise.tools_gateway.server.answering import Answering
from turnwise.tools_gateway.server.asgi import Receive, Scope, Send
from turnwise.tools_gateway.server.calls import Calls
from turnwise.tools_gateway.server.client import Client
from turnwise.tools_gateway.server.door import PRINCIPAL
from turnwise.tools_gateway.server.meta import LOG_LEVEL, PROGRESS_TOKEN, RESERVED, sent_on
from turnwise.tools_gateway.server.notices import LEVELS, Bounds, relayed
from turnwise.tools_gateway.values import JsonObject, Principal

REVISION = "2026-07-28"
MAX_MIRRORED = 4096
"""Tools of which it is remembered whether headers repeat their arguments."""


class DirectCalls:
    """Serves the tool calls that it knows how to."""

    def __init__(self, calls: Calls, registry: Registry, stamp: JsonObject, bounds: Bounds) -> None:
        self._calls = calls
        self._registry = registry
        self._stamp = stamp
        self._bounds = bounds
        self._mirrored: OrderedDict[str, bool] = OrderedDict()
        """By pin of a tool: whether its schema wants arguments repeated in headers."""

    async def serve(self, headers: dict[str, str], body: Any, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a parsed body; False where it is not for here, and nothing was sent.

        `headers` are by lower-case name.
        """
        principal: Principal = scope[PRINCIPAL]
        if not self._is_right(headers, body, scope, principal):
            return False
        params: JsonObject = body["params"]
        meta: JsonObject = params["_meta"]
        answering = Answering(body["id"], self._stamp, receive, send)
        token, level = meta.get(PROGRESS_TOKEN), meta.get(LOG_LEVEL)

        async def notify(method: str, told: JsonObject) -> None:
            shown = relayed(method, told, token, level)
            if shown is not None and (held := self._bounds.held(shown)) is not None:
                await answering.tell(method, held)

        client = Client(
            principal,
            meta[RESERVED + "clientCapabilities"],
            sent_on(meta, headers.get("traceparent")),
            notify,
        )
        await answering.run(self._calls.call(client, params))
        return True

    def _is_right(self, headers: dict[str, str], body: Any, scope: Scope, principal: Principal) -> bool:
        """Whether the request is a tool call without fault: envelope, headers that agree with it, types."""
        if not isinstance(body, dict) or body.get("jsonrpc") != "2.0" or body.get("method") != "tools/call":
            return False
        number, params = body.get("id"), body.get("params")
        if not isinstance(number, str | int) or isinstance(number, bool) or not isinstance(params, dict):
            return False
        name, arguments, meta = params.get("name"), params.get("arguments"), params.get("_meta")
        if not isinstance(name, str) or not (arguments is None or isinstance(arguments, dict)) or not isinstance(meta, dict):
            return False
        if (
            meta.get(RESERVED + "protocolVersion") != REVISION
            or not isinstance(meta.get(RESERVED + "clientCapabilities"), dict)
            or not isinstance(meta.get(RESERVED + "clientInfo", {}), dict)
            or not isinstance(meta.get(PROGRESS_TOKEN, ""), str | int)
            or meta.get(LOG_LEVEL, "info") not in LEVELS
            or not isinstance(params.get("inputResponses", {}), dict)
            or not isinstance(params.get("requestState", ""), str)
        ):
            return False
        if decode_header_value(headers.get("mcp-name")) != name or not _accepts_both(headers.get("accept", "")):
            return False
        if not headers.get("content-type", "").lower().startswith("application/json"):
            return False
        lines = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in scope["headers"]]
        if len(lines) != len(headers) and find_duplicated_routing_header(lines) is not None:
            return False
        return self._agrees_with_mirrors(name, arguments or {}, headers, principal)

    def _agrees_with_mirrors(self, name: str, arguments: JsonObject, headers: dict[str, str], principal: Principal) -> bool:
        tool = self._registry.resolve(name, principal)
        if tool is None:
            return True
        schema = tool.definition.get("inputSchema")
        is_mirrored = self._mirrored.get(tool.pin)
        if is_mirrored is None:
            is_mirrored = self._mirrored[tool.pin] = bool(x_mcp_header_map(schema))
            if len(self._mirrored) > MAX_MIRRORED:
                self._mirrored.popitem(last=False)
        return not is_mirrored or validate_mcp_param_headers(schema, arguments, headers) is None


def _accepts_both(accept: str) -> bool:
    """Whether a client takes JSON and an event stream, as clients write it; the SDK reads any other way of saying so."""
    return "application/json" in accept and "text/event-stream" in accept
