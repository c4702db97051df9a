"""The SDK's server with a handler for each method of MCP that the gateway serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast, get_args

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.methods import CacheableMethod
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request as HttpRequest

from turnwise import __version__
from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.server.calls import Calls
from turnwise.tools_gateway.server.catalogue import PROMPTS, RESOURCES, TEMPLATES, Kind
from turnwise.tools_gateway.server.client import Client, check_can_answer
from turnwise.tools_gateway.server.door import PRINCIPAL
from turnwise.tools_gateway.server.faults import as_error
from turnwise.tools_gateway.server.meta import LOG_LEVEL, PROGRESS_TOKEN, RESERVED, sent_on
from turnwise.tools_gateway.server.notices import LEVELS, Bounds, relayed
from turnwise.tools_gateway.server.relay import Relay, Subscription
from turnwise.tools_gateway.server.told import Session, Told
from turnwise.tools_gateway.values import Fault, JsonObject, Principal, ToolFault

Context = ServerRequestContext[Any, HttpRequest]
Handled = Callable[[Client, JsonObject], Awaitable[JsonObject]]

NAME = "turnwise"
MAX_URIS = 256
"""Resources that one session may subscribe to."""


class Anything(BaseModel):
    """A JSON object that a client gave, as it gave it."""

    model_config = ConfigDict(extra="allow")


class Handlers:
    """Answers what clients ask, in both revisions; `server` is what the SDK serves."""

    def __init__(self, calls: Calls, relay: Relay, told: Told) -> None:
        self._calls = calls
        self._relay = relay
        self._told = told
        hints = dict.fromkeys(get_args(CacheableMethod), CacheHint(ttl_ms=0, scope="private"))
        self.server: Server[Any] = Server(NAME, version=__version__, cache_hints=hints)
        # Its middleware makes a span a message for an exporter that this process does not have.
        self.server.middleware.clear()

        async def tools(client: Client, _params: JsonObject) -> JsonObject:
            return self._calls.list(client)

        for method, params_type, handled in (
            ("tools/list", types.PaginatedRequestParams, tools),
            ("tools/call", types.CallToolRequestParams, calls.call),
            ("prompts/list", types.PaginatedRequestParams, self._lists(PROMPTS)),
            ("prompts/get", types.GetPromptRequestParams, relay.get_prompt),
            ("resources/list", types.PaginatedRequestParams, self._lists(RESOURCES)),
            ("resources/templates/list", types.PaginatedRequestParams, self._lists(TEMPLATES)),
            ("resources/read", types.ReadResourceRequestParams, relay.read),
            ("completion/complete", types.CompleteRequestParams, relay.complete),
        ):
            self.server.add_request_handler(method, params_type, self._handler(handled))
        self.server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, self._subscribe)
        self.server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, self._unsubscribe)
        self.server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self._set_level)
        self.server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, self._listen)
        self.server.add_notification_handler("notifications/initialized", types.NotificationParams, self._initialized)

    def _lists(self, kind: Kind) -> Handled:
        async def handled(client: Client, _params: JsonObject) -> JsonObject:
            return await self._relay.list(client, kind)

        return handled

    def _handler(self, handled: Handled) -> Callable[[Context, Any], Awaitable[JsonObject]]:
        async def handler(ctx: Context, _params: Any) -> JsonObject:
            with _faults():
                result = await handled(self._client(ctx), dict(ctx.params or {}))
            return {"resultType": "complete", **result} if _is_modern(ctx) else result

        return handler

    async def _initialized(self, ctx: Context, _params: Any) -> None:
        self._told.session(_connection(ctx), _principal(ctx))

    async def _subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        session = self._told.session(_connection(ctx), _principal(ctx))
        uri = str(params.uri)
        if uri not in session.uris:
            if len(session.uris) >= MAX_URIS:
                raise MCPError(types.INVALID_PARAMS, f"A session may subscribe to {MAX_URIS} resources.")
            with _faults():
                session.uris[uri], _ = await self._relay.subscribe(session.principal, uri)
            session.connection.exit_stack.push_async_callback(self._unsubscribed, session, uri)
        return types.EmptyResult()

    async def _unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        with _faults():
            await self._unsubscribed(self._told.session(_connection(ctx), _principal(ctx)), str(params.uri))
        return types.EmptyResult()

    async def _unsubscribed(self, session: Session, uri: str) -> None:
        credential = session.uris.pop(uri, None)
        if credential is not None:
            await self._relay.unsubscribe((credential, uri))

    async def _set_level(self, ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        session = self._told.session(_connection(ctx), _principal(ctx))
        session.level = params.level
        # Sessions of a tenant share what is behind them: the most talkative wish is asked for, and each is told what it wants.
        levels = {other.level for other in self._told.sessions if other.principal.tenant == session.principal.tenant}
        await self._relay.set_level(session.principal, min(levels, key=LEVELS.index))
        return types.EmptyResult()

    async def _listen(self, ctx: Context, params: types.SubscriptionsListenRequestParams) -> types.SubscriptionsListenResult:
        principal = _principal(ctx)
        subscribed: list[Subscription] = []
        try:
            for uri in dict.fromkeys(params.notifications.resource_subscriptions or ()):
                with suppress(ToolFault):  # a resource that nobody has never changes
                    subscribed.append(await self._relay.subscribe(principal, str(uri)))
            return await self._told.listen(principal, ctx, params)
        finally:
            for subscription in subscribed:
                with suppress(ToolFault):
                    await self._relay.unsubscribe(subscription)

    def _client(self, ctx: Context) -> Client:
        principal = _principal(ctx)
        params = ctx.params or {}
        meta: JsonObject = dict(params.get("_meta") or {})
        if _is_modern(ctx):
            capabilities = meta.get(RESERVED + "clientCapabilities") or {}
            answer = None
        else:
            declared = ctx.session.client_capabilities
            capabilities = declared.model_dump(by_alias=True, mode="json", exclude_none=True) if declared else {}
            answer = _answer(ctx, capabilities)
            meta[LOG_LEVEL] = self._told.session(_connection(ctx), principal).level
        assert ctx.request is not None
        sent = sent_on(meta, ctx.request.headers.get("traceparent"))
        return Client(principal, capabilities, sent, _notify(ctx, meta, self._told.bounds), answer)


def _notify(ctx: Context, meta: JsonObject, bounds: Bounds) -> Notify:
    """Tell the client on the stream of its request."""

    async def notify(method: str, params: JsonObject) -> None:
        shown = relayed(method, params, meta.get(PROGRESS_TOKEN), meta.get(LOG_LEVEL))
        if shown is not None and (held := bounds.held(shown)) is not None:
            notification = types.Notification[JsonObject, str](method=method, params=held)
            await ctx.session.send_notification(cast("types.ServerNotification", notification), ctx.request_id)

    return notify


def _answer(ctx: Context, capabilities: JsonObject) -> Answer:
    """Ask the client on the stream of its request."""
    within = ServerMessageMetadata(related_request_id=ctx.request_id)

    async def answer(method: str, params: JsonObject) -> JsonObject:
        check_can_answer(capabilities, method, params)
        request = cast("types.ServerRequest", types.Request[JsonObject, str](method=method, params=params))
        try:
            given = await ctx.session.send_request(request, Anything, metadata=within)
        except MCPError as error:
            raise ToolFault(Fault.NOT_ALLOWED, error.error.message, error.error.model_dump(exclude_none=True)) from error
        except ValidationError as error:
            raise ToolFault(Fault.NOT_ALLOWED, f"The client answered {method} with what is no MCP.") from error
        return given.model_dump(mode="json", by_alias=True)

    return answer


def _is_modern(ctx: Context) -> bool:
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def _principal(ctx: Context) -> Principal:
    assert ctx.request is not None
    principal: Principal = ctx.request.scope[PRINCIPAL]
    return principal


def _connection(ctx: Context) -> Connection:
    return ctx.session._connection  # noqa: SLF001 - the SDK gives a handler no other way to hear of its session's end


@contextmanager
def _faults() -> Iterator[None]:
    """Turn a fault into the protocol's error: the upstream's own where it gave one."""
    try:
        yield
    except ToolFault as fault:
        error = as_error(fault)
        raise MCPError(error["code"], error["message"], error.get("data")) from fault
