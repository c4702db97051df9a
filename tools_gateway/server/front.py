"""The front as a whole: what it needs of the other rooms, and how its parts hang together."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack
from socket import socket

import msgspec

from turnwise.tools_gateway.ports import Audit, Registry, Runs, Tokens, Upstreams
from turnwise.tools_gateway.server.calls import Calls
from turnwise.tools_gateway.server.catalogue import Catalogue
from turnwise.tools_gateway.server.direct import DirectCalls
from turnwise.tools_gateway.server.door import Door
from turnwise.tools_gateway.server.endpoint import Endpoint
from turnwise.tools_gateway.server.handlers import Handlers
from turnwise.tools_gateway.server.listening import Listening
from turnwise.tools_gateway.server.relay import Relay
from turnwise.tools_gateway.server.request_state import Seal
from turnwise.tools_gateway.server.rounds import Rounds
from turnwise.tools_gateway.server.told import Told
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.values import JsonObject

PATH = "/mcp"
DRAIN_S = 5.0
"""How long calls under way may take to end when the gateway stops."""


class Rooms(msgspec.Struct, frozen=True):
    """What the front asks."""

    registry: Registry
    runs: Runs
    upstreams: Upstreams
    audit: Audit
    tokens: Tokens | None = None
    """None where nobody need say who they are."""


class McpFront:
    """The MCP endpoint on a socket; `told` is what upstreams tell outside of requests."""

    def __init__(self, settings: Settings, rooms: Rooms, told: Told) -> None:
        self._told = told
        rounds = Rounds(Seal(secrets.token_bytes(32), time.monotonic))
        calls = Calls(rooms.runs, rooms.registry, rounds)
        catalogue = Catalogue(rooms.upstreams, rooms.registry, settings.upstreams, time.monotonic)
        relay = Relay(rooms.upstreams, catalogue, rounds, time.monotonic)
        handlers = Handlers(calls, relay, told)
        stamp = handlers.server.server_info_stamp
        self._endpoint = Endpoint(handlers, DirectCalls(calls, rooms.registry, stamp), rooms.audit, settings.limits)
        self._listening = Listening(
            Door(
                self._endpoint,
                path=PATH,
                hosts=settings.front.allow_hosts,
                origins=settings.front.allow_origins,
                tokens=rooms.tokens,
                metadata=resource_metadata(settings),
            ),
            DRAIN_S,
        )

    async def run(self, bound: socket, stop: asyncio.Event, on_ready: asyncio.Event) -> None:
        """Serve on a bound socket until `stop`; what runs then may end within `DRAIN_S`."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            await stack.enter_async_context(self._endpoint.running())
            telling = group.create_task(self._told.run())
            serving = group.create_task(self._listening.serve([bound]))
            await self._listening.is_listening.wait()
            on_ready.set()
            await stop.wait()
            self._told.close()
            self._listening.should_exit = True
            await serving
            telling.cancel()


def resource_metadata(settings: Settings) -> JsonObject | None:
    """The document of the protected resource (RFC 9728); None where no authorization server is named."""
    if not settings.auth.issuer:
        return None
    return {
        "resource": settings.auth.audience,
        "authorization_servers": [settings.auth.issuer],
        "scopes_supported": sorted(set(settings.auth.scopes.values())),
        "bearer_methods_supported": ["header"],
    }
