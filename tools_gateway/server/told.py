"""What upstreams tell outside of any request, on its way to the clients that want to hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.subscriptions import event_from_wire
from mcp_types import SubscriptionsListenRequestParams, SubscriptionsListenResult

from turnwise.tools_gateway.ports import Registry
from turnwise.tools_gateway.server.notices import Bounds, is_at_least
from turnwise.tools_gateway.values import Credential, JsonObject, Principal, UpstreamName

TELL_S = 5.0
"""How long a session of the older revision may take to read; one that does not is told no more."""
CHANGED_TOOLS = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
LOGGED = "notifications/message"
NOBODY = Credential(UpstreamName(""), "")
MAX_WAITING = 4096
"""Notices that wait to be sent on; each says that something changed, and the next listing finds out."""


class Session(msgspec.Struct):
    """One session of the older revision."""

    principal: Principal
    connection: Connection
    level: str = "info"
    """Lowest level of log messages that it wants."""
    uris: dict[str, Credential] = msgspec.field(default_factory=dict)
    """Resources that it subscribed to, and with whom."""


class Listening(msgspec.Struct):
    """All streams of the newer revision that one principal has open."""

    bus: InMemorySubscriptionBus
    handler: ListenHandler
    num_open: int = 0


class Told:
    """Takes what upstreams tell (`ports.Watcher`) and sends it on from a task of its own."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.bounds = Bounds()
        """Of what clients are told, in answers to requests too."""
        self._sessions: dict[int, Session] = {}
        self._listening: dict[Principal, Listening] = {}
        self._waiting: asyncio.Queue[tuple[Credential, str, JsonObject]] = asyncio.Queue(MAX_WAITING)

    def told(self, credential: Credential, method: str, params: JsonObject) -> None:
        """Remember to tell the clients; returns at once. Told while too much waits, or beyond bounds, it is left out."""
        if (held := self.bounds.held(params)) is not None and not self._waiting.full():
            self._waiting.put_nowait((credential, method, held))

    def tools_changed(self) -> None:
        """What some principal may call is another than before: all are told to look."""
        self.told(NOBODY, CHANGED_TOOLS, {})

    async def run(self) -> None:
        """Send on what is told, until cancelled."""
        while True:
            credential, method, params = await self._waiting.get()
            await self._tell_streams(credential, method, params)
            async with asyncio.TaskGroup() as tellings:
                for number, session in list(self._sessions.items()):
                    if self._concerns(session, credential, method, params):
                        tellings.create_task(self._tell(number, session, method, params))

    def session(self, connection: Connection, principal: Principal) -> Session:
        """The session of a connection, which ends with it."""
        number = id(connection)
        session = self._sessions.get(number)
        if session is None:
            session = self._sessions[number] = Session(principal, connection)
            connection.exit_stack.callback(self._sessions.pop, number, None)
        return session

    async def listen(
        self, principal: Principal, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream of the newer revision until its client leaves or `close`."""
        listening = self._listening.get(principal)
        if listening is None:
            bus = InMemorySubscriptionBus()
            listening = self._listening[principal] = Listening(bus, ListenHandler(bus))
        listening.num_open += 1
        try:
            return await listening.handler(ctx, params)
        finally:
            listening.num_open -= 1
            if not listening.num_open:
                self._listening.pop(principal, None)

    def close(self) -> None:
        """End all streams, each with a last word."""
        for listening in self._listening.values():
            listening.handler.close()

    async def _tell_streams(self, credential: Credential, method: str, params: JsonObject) -> None:
        event = event_from_wire(method, params)
        if event is None:
            return
        for principal, listening in list(self._listening.items()):
            if method == CHANGED_TOOLS or self._is_of(principal, credential):
                await listening.bus.publish(event)

    def _concerns(self, session: Session, credential: Credential, method: str, params: JsonObject) -> bool:
        if method == CHANGED_TOOLS:
            return True
        if not self._is_of(session.principal, credential):
            return False
        if method == UPDATED:
            return params.get("uri") in session.uris
        return method != LOGGED or is_at_least(params.get("level"), session.level)

    def _is_of(self, principal: Principal, credential: Credential) -> bool:
        return self._registry.credential(UpstreamName(credential.upstream), principal) == credential

    async def _tell(self, number: int, session: Session, method: str, params: JsonObject) -> None:
        try:
            async with asyncio.timeout(TELL_S):
                await session.connection.notify(method, params)
        except TimeoutError:
            self._sessions.pop(number, None)

    @property
    def sessions(self) -> Sequence[Session]:
        """Those that are open."""
        return list(self._sessions.values())
