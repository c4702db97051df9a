"""The front as a whole: what it needs of the other rooms, and how its parts hang together."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import socket

import msgspec

from turnwise.tools_gateway.ports import Audit, Guard, Meter, Registry, Runs, Tokens, Upstreams
from turnwise.tools_gateway.server.calls import Calls
from turnwise.tools_gateway.server.catalogue import Catalogue
from turnwise.tools_gateway.server.direct import DirectCalls
from turnwise.tools_gateway.server.door import Door
from turnwise.tools_gateway.server.draining import LAST_WORD_S, Draining
from turnwise.tools_gateway.server.endpoint import Endpoint
from turnwise.tools_gateway.server.handlers import Handlers
from turnwise.tools_gateway.server.listening import Listening
from turnwise.tools_gateway.server.relay import Relay
from turnwise.tools_gateway.server.relay_turns import RelayTurns
from turnwise.tools_gateway.server.request_state import Seal
from turnwise.tools_gateway.server.rounds import Rounds
from turnwise.tools_gateway.server.told import Told
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.values import JsonObject

PATH = "/mcp"
UNNAMED_TENANTS = 2
"""How many are reckoned with where tokens alone name them: none holds all that they share."""


class Rooms(msgspec.Struct, frozen=True):
    """What the front asks."""

    registry: Registry
    runs: Runs
    upstreams: Upstreams
    audit: Audit
    guard: Guard
    meter: Meter
    tokens: Tokens | None = None
    """None where nobody need say who they are."""


class McpFront:
    """The MCP endpoint on a socket; `told` is what upstreams tell outside of requests."""

    def __init__(self, settings: Settings, rooms: Rooms, told: Told) -> None:
        self._told = told
        self._drain_s = settings.front.drain_timeout_s
        self._rounds = rounds = Rounds(Seal(secrets.token_bytes(32), time.monotonic))
        self._calls = calls = Calls(rooms.runs, rooms.registry, rounds)
        catalogue = Catalogue(rooms.upstreams, rooms.registry, settings.upstreams, time.monotonic)
        turns = RelayTurns(settings.limits, time.monotonic)
        relay = Relay(rooms.upstreams, catalogue, rounds, rooms.guard, rooms.audit, turns, time.monotonic)
        handlers = Handlers(calls, relay, told)
        stamp = handlers.server.server_info_stamp
        direct = DirectCalls(calls, rooms.registry, stamp, told.bounds)
        num_tenants = len(settings.tenants) or (UNNAMED_TENANTS if settings.auth.issuer else 1)
        self._endpoint = Endpoint(handlers, direct, rooms.audit, rooms.meter, settings.limits, num_tenants)
        door = Door(
            self._endpoint,
            path=PATH,
            hosts=settings.front.allow_hosts,
            origins=settings.front.allow_origins,
            tokens=rooms.tokens,
            metadata=resource_metadata(settings),
        )
        self._draining = Draining(door)
        self._listening = Listening(self._draining)

    @asynccontextmanager
    async def serving(self, bound: socket) -> AsyncIterator[None]:
        """Serve on a bound socket while it lasts; what runs at its end has `front.drain_timeout_s`, unless it was cancelled."""
        drain_s = self._drain_s
        async with self._endpoint.running(), asyncio.TaskGroup() as group:
            telling = group.create_task(self._told.run(), name="told")
            serving = group.create_task(self._listening.serve([bound]), name="front")
            await self._listening.is_listening.wait()
            try:
                yield
            except asyncio.CancelledError:
                drain_s = 0.0
                raise
            finally:
                self._listening.should_exit = True
                self._told.close()
                try:
                    await self._draining.end_streams()
                    await asyncio.wait({serving}, timeout=drain_s)
                finally:
                    if self._calls.cut():
                        await asyncio.wait({serving}, timeout=LAST_WORD_S)
                    await self._draining.end()
                    self._listening.force_exit = True
                    await self._rounds.aclose()
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
