"""One POST, one answer: a message to an HTTP upstream on a pooled connection, and what comes back for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache

import aiohttp
import msgspec

from turnwise.tools_gateway.settings import UpstreamSettings
from turnwise.tools_gateway.upstreams import jsonrpc
from turnwise.tools_gateway.upstreams.addresses import CheckedResolver, LookUp, check_url
from turnwise.tools_gateway.upstreams.allowance import NOISE_A_SECOND, Allowance, weight
from turnwise.tools_gateway.upstreams.connection import Unsent
from turnwise.tools_gateway.upstreams.intake import PIECE_BYTES, Intake
from turnwise.tools_gateway.upstreams.jsonrpc import Message
from turnwise.tools_gateway.upstreams.sse import Events
from turnwise.tools_gateway.values import Fault, ToolFault

CONNECT_S = 2.0
"""Until a connection stands; see `pace`."""

KEEP_S = 4.0
"""For how long an idle connection is kept: common servers close theirs after 5 s, and a request on its way then is lost."""

MIN_BYTES, BYTES_A_RESULT = 4 * 1024 * 1024, 4
"""Largest answer: room for a result that is cut later, and for its escapes."""

DRAIN_S = 0.05
"""Between an answer and the end of its stream."""

Hear = Callable[[Message], Awaitable[None]]
"""Takes what comes before the answer: notifications, and requests of the other side."""


class SessionGone(Unsent):
    """The other side knows the session no more, and has done nothing."""


class Answer(msgspec.Struct, frozen=True):
    """What came for one message."""

    message: Message | None
    """None where a notification was accepted."""
    session_id: str


class Exchange:
    """The pool of one session; raises `SettingsError` where its URL is none that may be used."""

    def __init__(self, upstream: UpstreamSettings, bearer: str, look_up: LookUp | None = None) -> None:
        check_url(upstream)
        self._upstream, self._look_up = upstream, look_up
        self._max_bytes = max(MIN_BYTES, BYTES_A_RESULT * upstream.max_result_bytes)
        self._headers = {
            "User-Agent": "turnwise",
            "Accept-Encoding": "identity",
            **upstream.headers,
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        if bearer:
            self._headers["Authorization"] = f"Bearer {bearer}"
        self._pool: aiohttp.ClientSession | None = None
        self._allowance = Allowance(NOISE_A_SECOND)
        self._ends_streams = True

    async def post(self, body: bytes, headers: Mapping[str, str], hear: Hear) -> Answer:
        """Send one message and give its answer; leaving it early closes the connection. Raises `ToolFault`."""
        async with self._sent("POST", headers, body) as response:
            session_id = response.headers.get("Mcp-Session-Id", "")
            if response.status == 202:
                return Answer(None, session_id)
            if response.status == 404 and "Mcp-Session-Id" in headers:
                raise SessionGone(Fault.UPSTREAM_DOWN, f"{self._upstream.name} has ended the session")
            self._refuse_other_statuses(response)
            if response.content_type == "text/event-stream" and response.status == 200:
                return Answer(await self._events(response, hear), session_id)
            message = self._read(await self._body(response), response.status)
            return Answer(message, session_id)

    async def follow(self, headers: Mapping[str, str], hear: Hear) -> None:
        """Hear what comes on a stream of its own until the other side ends it; raises `ToolFault`."""
        async with self._sent("GET", {**headers, "Accept": "text/event-stream"}, None) as response:
            if response.status != 200 or response.content_type != "text/event-stream":
                raise ToolFault(Fault.UPSTREAM_REFUSED, f"{self._upstream.name} offers no stream of news")
            await self._events(response, hear)

    async def delete(self, headers: Mapping[str, str]) -> None:
        """Say that a session is over; raises `ToolFault`."""
        async with self._sent("DELETE", headers, None):
            pass

    async def aclose(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close()

    @asynccontextmanager
    async def _sent(self, method: str, headers: Mapping[str, str], body: bytes | None) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request and the head of its answer; what goes wrong on the way becomes a `ToolFault`."""
        who = self._upstream.name
        try:
            async with self._opened().request(
                method, self._upstream.url, data=body, headers={**self._headers, **headers}, allow_redirects=False
            ) as response:
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unsent(Fault.UPSTREAM_DOWN, f"{who} cannot be reached: {_why(error)}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ToolFault(Fault.UPSTREAM_BROKE, f"{who} broke off: {_why(error)}") from None

    def _opened(self) -> aiohttp.ClientSession:
        """The pool, made where the loop runs."""
        if self._pool is None:
            connector = aiohttp.TCPConnector(
                resolver=CheckedResolver(allow_private=self._upstream.allow_private, look_up=self._look_up),
                use_dns_cache=False,
                ttl_dns_cache=None,
                limit=0,
                keepalive_timeout=KEEP_S,
                ssl=_trusted() if self._upstream.url.startswith("https:") else True,
            )
            self._pool = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
                auto_decompress=False,
                read_bufsize=PIECE_BYTES,
                trust_env=False,
            )
        return self._pool

    def _refuse_other_statuses(self, response: aiohttp.ClientResponse) -> None:
        """Raise `ToolFault` for a status under which no message of MCP is looked for."""
        who, status = self._upstream.name, response.status
        if 300 <= status < 400:
            raise ToolFault(Fault.UPSTREAM_BROKE, f"{who} redirects, which is not followed")
        if status in {401, 403}:
            raise ToolFault(Fault.UPSTREAM_REFUSED, f"{who} does not accept the gateway's credential (HTTP {status})")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ToolFault(Fault.UPSTREAM_BROKE, f"{who} sent an encoding that was not asked for")

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body, within the bound."""
        body, intake = bytearray(), Intake(response, self._allowance)
        if (response.content_length or 0) <= self._max_bytes:
            while piece := await intake.read():
                body += piece
                if len(body) > self._max_bytes:
                    break
            else:
                return bytes(body)
        response.close()
        raise ToolFault(Fault.TOO_LARGE, f"the result of {self._upstream.name} is too large")

    def _read(self, body: bytes, status: int) -> Message:
        """The message of a JSON body; an error's body may be one too."""
        who = self._upstream.name
        try:
            message = jsonrpc.decode(body)
        except ValueError as error:
            if status == 200:
                raise ToolFault(Fault.UPSTREAM_BROKE, f"{who} said what is no MCP: {error}") from None
            message = Message()
        if status == 200 or message.error is not None:
            return message
        fault = Fault.UPSTREAM_REFUSED if status < 500 else Fault.UPSTREAM_BROKE
        raise ToolFault(fault, f"{who} answered with HTTP {status}")

    async def _events(self, response: aiohttp.ClientResponse, hear: Hear) -> Message:
        """The answer at the end of a stream; what comes before goes to `hear`, and no faster than so much a second."""
        events, intake, who = Events(self._max_bytes), Intake(response, self._allowance), self._upstream.name
        while piece := await intake.read():
            try:
                found = events.feed(piece)
            except ValueError:
                response.close()
                raise ToolFault(Fault.TOO_LARGE, f"the result of {who} is too large") from None
            for data in found:
                message = jsonrpc.decode(data)
                if not message.method:
                    await self._drain(response)
                    return message
                await hear(message)
                intake.weigh(weight(data))
                await asyncio.sleep(0)  # a piece holds many messages, and each is work
            intake.weigh(events.wasted)
            events.wasted = 0
        raise ToolFault(Fault.UPSTREAM_BROKE, f"{who} ended a stream without an answer")

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        """Wait for the end of a stream behind its answer: only then can its connection be used again.

        Where the other side leaves streams open that is tried once.
        """
        if self._ends_streams:
            try:
                async with asyncio.timeout(DRAIN_S):
                    await response.content.readany()
            except TimeoutError:
                self._ends_streams = False


@cache
def _trusted() -> ssl.SSLContext:
    """The machine's own list of authorities, read once: that takes as long as some hundred requests."""
    return ssl.create_default_context()


def _why(error: Exception) -> str:
    """In a few words that name no address of the gateway's own network but the one of the file."""
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return (str(inner) or type(inner).__name__)[:200]
