"""All sessions: who has which, which are made at the start, and which have not been used for long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from random import Random

import msgspec

from turnwise.tools_gateway.credentials import Credentials
from turnwise.tools_gateway.ports import Answer, Notify, Watcher
from turnwise.tools_gateway.settings import Settings, UpstreamSettings
from turnwise.tools_gateway.upstreams import jsonrpc
from turnwise.tools_gateway.upstreams.addresses import check_url
from turnwise.tools_gateway.upstreams.connection import Dial
from turnwise.tools_gateway.upstreams.declared import declared
from turnwise.tools_gateway.upstreams.facts import SessionFacts
from turnwise.tools_gateway.upstreams.pace import BUDGET, Pace
from turnwise.tools_gateway.upstreams.places import Place, Places
from turnwise.tools_gateway.upstreams.session import Session
from turnwise.tools_gateway.upstreams.stdio import StdioDial
from turnwise.tools_gateway.upstreams.streamable import HttpDial
from turnwise.tools_gateway.values import Credential, JsonObject, Request, ToolFault, UpstreamName

log = logging.getLogger(__name__)

SWEEPS = 4
"""Looks at idle sessions within the time after which they end."""

OnTools = Callable[[UpstreamName, list[JsonObject], Credential], object]
"""Takes what an upstream lists in the session of a credential."""


class _Key(msgspec.Struct, frozen=True, gc=False):
    """Of a session."""

    credential: Credential
    declared: str = ""
    """What it declares, as JSON; empty for nothing."""


class GatewayUpstreams:
    """The upstreams of the operator's file.

    `on_tools` is given an upstream's definitions each time a session has listed them; `watcher` hears of every other change,
    and of what an upstream says outside of any request. Raises `SettingsError` where a URL leads where none may.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        on_tools: OnTools,
        watcher: Watcher | None = None,
        clock: Callable[[], float],
        rng: Random,
        budget: int | None = BUDGET,
    ) -> None:
        self._upstreams = {UpstreamName(upstream.name): upstream for upstream in settings.upstreams}
        for upstream in settings.upstreams:
            if upstream.url:
                check_url(upstream)
        self._credentials, self._environ = Credentials(settings, environ), environ
        self._idle_s = settings.limits.upstream_idle_s
        self._on_tools, self._watcher, self._clock, self._rng, self._budget = on_tools, watcher, clock, rng, budget
        self._sessions: dict[_Key, Session] = {}
        self._owners: dict[Session, asyncio.Task[None]] = {}
        self._first = tuple(found for upstream in settings.upstreams for found in self._credentials.at_start(upstream))
        self._kept = frozenset(
            _Key(credential)
            for credential in self._first
            if not settings.tenants or self._upstreams[credential.upstream].shared
        )
        self._places = Places(settings, len(self._kept))

    @property
    def upstream_names(self) -> tuple[UpstreamName, ...]:
        """In the order of the file."""
        return tuple(self._upstreams)

    async def run(self) -> None:
        """Own all sessions until cancelled; those of tenants of the file, and those that all share, are made at once."""
        try:
            for credential in self._first:
                self.prepare(credential)
            while True:
                await asyncio.sleep(self._idle_s / SWEEPS)
                self._end_idle()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """End all sessions and what belongs to them."""
        for session in list(self._sessions.values()):
            self._owners[session].cancel()
        self._sessions.clear()
        if self._owners:
            await asyncio.wait(self._owners.values())

    def prepare(self, credential: Credential) -> None:
        """See to it that a session stands; returns at once."""
        try:
            self._session(_Key(credential))
        except ToolFault as fault:
            log.warning("%s", fault.message)

    async def ask(
        self, credential: Credential, request: Request, notify: Notify | None = None, answer: Answer | None = None
    ) -> JsonObject:
        """Send one request and give its result as it came; raises `ToolFault`.

        Waits for no connection but a session's first, and for that 5 s at most.
        """
        session = self._session(_Key(credential))
        if able := declared(request.capabilities):
            connection = await session.first()
            if not jsonrpc.is_modern(connection.greeting.version):
                session = self._session(_Key(credential, msgspec.json.encode(able).decode()))
        return await session.ask(request, notify, answer)

    def capabilities(self, credential: Credential) -> JsonObject:
        """What the upstream declared that it can do, as MCP has it; empty while it is down."""
        session = self._sessions.get(_Key(credential))
        greeting = None if session is None else session.greeting
        return {} if greeting is None else greeting.capabilities

    def facts(self) -> list[SessionFacts]:
        """How each session stands, in the order in which they were made."""
        return [session.facts() for session in self._sessions.values()]

    def _session(self, key: _Key) -> Session:
        """The session of a key, made where there is none; raises `ToolFault` where there is no place for it."""
        session = self._sessions.get(key)
        if session is None:
            if key not in self._kept:
                self._make_room(key.credential.tenant)
            session = self._sessions[key] = self._made(key)
        session.used_at = self._clock()
        return session

    def _made(self, key: _Key) -> Session:
        """A session with its owner."""
        upstream = self._upstreams[key.credential.upstream]
        session = Session(
            key.credential,
            Pace(None if upstream.url else self._budget),
            clock=self._clock,
            rng=self._rng,
            on_tools=lambda definitions: self._listed(key, definitions),
            told=partial(self._told, key.credential),
        )
        capabilities = msgspec.json.decode(key.declared) if key.declared else {}
        dial = self._dial(upstream, key.credential, session, capabilities)
        owner = asyncio.create_task(session.run(dial), name=f"upstream {upstream.name}")
        self._owners[session] = owner
        owner.add_done_callback(lambda _: self._owners.pop(session))
        return session

    def _listed(self, key: _Key, definitions: list[JsonObject]) -> None:
        """Hand on what an upstream lists; what it lists to clients that declare more than the gateway is left."""
        if not key.declared:
            self._on_tools(key.credential.upstream, definitions, key.credential)

    def _told(self, credential: Credential, method: str, params: JsonObject) -> None:
        """Hand on what an upstream says outside of any request."""
        if self._watcher is not None:
            self._watcher.told(credential, method, params)

    def _dial(self, upstream: UpstreamSettings, credential: Credential, session: Session, capabilities: JsonObject) -> Dial:
        """The way to an upstream."""
        if upstream.url:
            bearer = self._credentials.bearer(credential)
            return HttpDial(upstream, bearer, news=session.news, lost=session.lost, capabilities=capabilities)
        passed = {name: self._environ[name] for name in upstream.env_from if name in self._environ}
        return StdioDial(upstream, passed, news=session.news, lost=session.lost, clock=self._clock, capabilities=capabilities)

    def _make_room(self, tenant: str) -> None:
        """End a session where a tenant has, or all have, as many as there may be; raises `ToolFault`."""
        taken = {
            key: Place(key.credential.tenant, not session.in_flight, session.used_at)
            for key, session in self._sessions.items()
            if key not in self._kept
        }
        if (leaving := self._places.leaving(tenant, taken)) is not None:
            self._end(leaving)

    def _end_idle(self) -> None:
        """End sessions of tenants that nobody has used for long."""
        before = self._clock() - self._idle_s
        for key, session in list(self._sessions.items()):
            if session.used_at < before and not session.in_flight and key not in self._kept:
                self._end(key)

    def _end(self, key: _Key) -> None:
        """End one session; its owner closes it in its own time."""
        self._owners[self._sessions.pop(key)].cancel()
