"""Upstreams over streamable HTTP, in both eras: each request is a POST of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import count

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)

from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.settings import Era, UpstreamSettings
from turnwise.tools_gateway.upstreams import jsonrpc
from turnwise.tools_gateway.upstreams.connection import Unsent
from turnwise.tools_gateway.upstreams.dialogue import News
from turnwise.tools_gateway.upstreams.exchange import Exchange
from turnwise.tools_gateway.upstreams.greeting import Greeting, greet
from turnwise.tools_gateway.upstreams.jsonrpc import LEGACY, MODERN, Message
from turnwise.tools_gateway.values import PROGRESS, Fault, JsonObject, Request, ToolFault

SESSION_HEADER = "Mcp-Session-Id"
TRACE_KEYS = ("traceparent", "tracestate")
COURTESY_S = 2.0
"""For telling the other side that something is over, which it may find out by itself."""


class HttpDial:
    """Greets one endpoint, again and again, over one pool; remembers which revision it spoke."""

    def __init__(
        self, upstream: UpstreamSettings, bearer: str, *, news: News, lost: Callable[[], None], capabilities: JsonObject
    ) -> None:
        self._upstream, self._news, self._lost, self._capabilities = upstream, news, lost, capabilities
        self._exchange = Exchange(upstream, bearer)
        self._era: Era = upstream.era

    async def __call__(self) -> HttpConnection:
        """A connection that has been greeted; raises `ToolFault`."""
        connection = HttpConnection(self._upstream.name, self._exchange, self._news, self._lost)
        try:
            await connection.open(self._era, self._capabilities)
        except ToolFault:
            self._era = self._upstream.era
            raise
        if self._upstream.era == "auto":
            self._era = MODERN if jsonrpc.is_modern(connection.greeting.version) else LEGACY
        return connection

    async def aclose(self) -> None:
        """Close the pool."""
        await self._exchange.aclose()


class HttpConnection:
    """An endpoint that has been greeted; in the older revisions, a session of it."""

    pid = None

    def __init__(self, name: str, exchange: Exchange, news: News, lost: Callable[[], None]) -> None:
        self._name, self._exchange, self._news, self._tell_lost = name, exchange, news, lost
        self._numbers = count(1)
        self._session_id = ""
        self._header_maps: dict[str, dict[tuple[str, ...], str]] = {}
        self._courtesies: set[asyncio.Task[None]] = set()
        self.greeting = Greeting("", {})
        self.lost: ToolFault | None = None

    async def open(self, era: Era, capabilities: JsonObject) -> None:
        """Greet it; raises `ToolFault`."""
        self.greeting = await greet(self._say, era, capabilities, None)
        if not jsonrpc.is_modern(self.greeting.version):
            await self._tell("notifications/initialized", {})

    def accept(self, definitions: list[JsonObject]) -> list[JsonObject]:
        """Those whose marks for header fields hold; a tool with others must not be used in the newer revision."""
        if not jsonrpc.is_modern(self.greeting.version):
            return definitions
        kept = [tool for tool in definitions if find_invalid_x_mcp_header(tool.get("inputSchema")) is None]
        maps = {str(tool.get("name")): x_mcp_header_map(tool.get("inputSchema")) for tool in kept}
        self._header_maps = {name: found for name, found in maps.items() if found}
        return kept

    async def ask(self, request: Request, notify: Notify | None = None, answer: Answer | None = None) -> JsonObject:
        """Send one request and give its result; raises `ToolFault`."""
        if self.lost is not None:
            raise self.lost
        try:
            return await self._say(
                request.method, request.params, self.greeting.version, request.capabilities, notify=notify, answer=answer
            )
        except Unsent as fault:
            self._lose(fault)
            raise

    async def check(self) -> None:
        """Ask for something that costs nothing; an error is an answer too."""
        version = self.greeting.version
        try:
            await self._say("server/discover" if jsonrpc.is_modern(version) else "ping", {}, version)
        except ToolFault as fault:
            if fault.fault is not Fault.UPSTREAM_REFUSED:
                raise

    async def watch(self, uris: Sequence[str]) -> bool:
        """Keep the stream of news open; raises `ToolFault` where it breaks or is not offered."""
        version = self.greeting.version
        if not jsonrpc.is_modern(version):
            if self._session_id:
                await self._exchange.follow(self._headers("", {}, version), self._hear_news)
            return bool(self._session_id)
        if not uris and not self.greeting.can_change:
            return False
        await self._say("subscriptions/listen", self.greeting.wanted(uris), version, notify=self._told)
        return True

    def give_up(self, why: str) -> None:
        """It is of no more use."""
        self._lose(ToolFault(Fault.UPSTREAM_DOWN, why))

    async def aclose(self) -> None:
        """End the session, where there is one; requests under way go on, for their connections are their own."""
        if self._session_id and self.lost is None:
            self._courtesy(self._exchange.delete(self._headers("", {}, self.greeting.version)))
        self.lost = self.lost or ToolFault(Fault.UPSTREAM_DOWN, f"{self._name} was closed")
        if self._courtesies:
            await asyncio.wait(self._courtesies)

    async def _say(
        self,
        method: str,
        params: JsonObject,
        version: str,
        capabilities: JsonObject | None = None,
        *,
        notify: Notify | None = None,
        answer: Answer | None = None,
    ) -> JsonObject:
        """One request and its result."""
        number = next(self._numbers)
        sent = jsonrpc.outgoing(params, version, capabilities or {}, number if notify is not None else None)

        async def hear(message: Message) -> None:
            if message.id is not None:
                await self._reply(message, version, answer)
            elif notify is not None:
                is_progress = message.method == PROGRESS
                await notify(message.method, jsonrpc.with_token_of(params, message.params) if is_progress else message.params)

        headers = self._headers(method, sent, version)
        has_ended = False
        try:
            answered = await self._exchange.post(jsonrpc.encode_request(number, method, sent), headers, hear)
            has_ended = True
        except ToolFault:
            has_ended = True
            raise
        finally:
            if not has_ended and not jsonrpc.is_modern(version) and method not in jsonrpc.NOT_CANCELLED:
                reason = {"requestId": number, "reason": "nobody waits for it any more"}
                self._courtesy(self._tell("notifications/cancelled", reason))
        if method == "initialize":
            self._session_id = answered.session_id
        if answered.message is None:
            raise ToolFault(Fault.UPSTREAM_BROKE, f"{self._name} accepted a request and answered nothing")
        return jsonrpc.outcome(answered.message, self._name)

    async def _tell(self, method: str, params: JsonObject) -> None:
        """One notification."""
        headers = self._headers(method, params, self.greeting.version)
        await self._exchange.post(jsonrpc.encode_notification(method, params), headers, _nobody)

    async def _reply(self, asked: Message, version: str, answer: Answer | None) -> None:
        """Answer a request of the other side."""
        said = jsonrpc.reply_alone(asked) if answer is None else await jsonrpc.reply(asked, answer)
        await self._exchange.post(said, self._headers("", {}, version), _nobody)

    def _headers(self, method: str, params: JsonObject, version: str) -> Mapping[str, str]:
        """What a request says of itself before its body."""
        meta = params.get("_meta") or {}
        headers = {key: encode_header_value(meta[key]) for key in TRACE_KEYS if isinstance(meta.get(key), str)}
        if method != "initialize":
            headers[MCP_PROTOCOL_VERSION_HEADER] = version
        if not jsonrpc.is_modern(version):
            return {**headers, SESSION_HEADER: self._session_id} if self._session_id and method != "initialize" else headers
        headers[MCP_METHOD_HEADER] = method
        name = params.get(NAME_BEARING_METHODS.get(method, ""))
        if isinstance(name, str):
            headers[MCP_NAME_HEADER] = encode_header_value(name)
            if method == "tools/call" and name in self._header_maps:
                headers |= mcp_param_headers(self._header_maps[name], params.get("arguments") or {})
        return headers

    async def _told(self, method: str, params: JsonObject) -> None:
        """News within the gateway's own subscription."""
        self._news(method, params)

    async def _hear_news(self, message: Message) -> None:
        """What comes on the stream of a session: news, and requests that nobody here made."""
        if message.id is not None:
            await self._reply(message, self.greeting.version, None)
        else:
            self._news(message.method, message.params)

    def _courtesy(self, telling: Coroutine[None, None, None]) -> None:
        """Tell the other side something in the background, within a bound and whatever comes of it."""
        task = asyncio.create_task(_within(telling))
        self._courtesies.add(task)
        task.add_done_callback(self._courtesies.discard)

    def _lose(self, fault: ToolFault) -> None:
        """It is of no more use."""
        if self.lost is None:
            self.lost = fault
            self._tell_lost()


async def _within(telling: Coroutine[None, None, None]) -> None:
    """For a while at most."""
    with suppress(ToolFault, TimeoutError):
        async with asyncio.timeout(COURTESY_S):
            await telling


async def _nobody(message: Message) -> None:
    """Hears what comes before the answer to something that is not asked for."""
