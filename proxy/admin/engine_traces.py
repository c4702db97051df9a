"""`POST /v1/traces` on the admin port: where engines send their spans (OTLP, http/protobuf).

Its server leaves bodies packed as they come (`auto_decompress=False`): what unpacks them knows a bound, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

from turnwise.errors import ClientFault
from turnwise.proxy.export.otlp.engines import EngineSpans

PATH = "/v1/traces"
PROTOBUF = "application/x-protobuf"

HEARD_ONLY = "heard-only"
"""Query of a request that a sibling worker sends on to the backend."""


def add_route(application: web.Application, spans: EngineSpans, tell_calls: Callable[[], None]) -> None:
    """Let an application take engines' spans in; `tell_calls` has `spans` hear of all calls that have ended."""

    async def post(request: web.Request) -> web.Response:
        if request.content_type != PROTOBUF:
            return _refused(415, f"content-type must be {PROTOBUF}: other encodings of OTLP are not read")
        encoding = request.headers.get("content-encoding", "").strip().lower()
        content = await request.read()
        tell_calls()
        try:
            spans.take(content, encoding, sends_on=HEARD_ONLY not in request.query)
        except ClientFault as fault:
            return _refused(fault.status, fault.message)
        return web.Response(content_type=PROTOBUF)

    application.add_routes([web.post(PATH, post)])


def _refused(status: int, message: str) -> web.Response:
    body = msgspec.json.encode({"error": {"message": message, "param": "body"}})
    return web.Response(body=body, status=status, content_type="application/json")
