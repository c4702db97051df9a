"""Finds out which revision of MCP the other side speaks: `server/discover` first, else the handshake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from turnwise.tools_gateway.settings import Era
from turnwise.tools_gateway.upstreams import jsonrpc
from turnwise.tools_gateway.upstreams.jsonrpc import CLIENT_INFO, LEGACY, MODERN
from turnwise.tools_gateway.values import Fault, JsonObject, ToolFault

PROBE_S = 5.0
"""For how long a program is waited for to answer `server/discover`: some older ones do not answer what they do not know."""

Say = Callable[[str, JsonObject, str], Awaitable[JsonObject]]
"""Sends one request in a revision and gives its result; raises `ToolFault`."""


class Greeting(msgspec.Struct, frozen=True):
    """What two sides have agreed on."""

    version: str
    about: JsonObject
    """What the other side said of itself: the result of `server/discover` or of `initialize`."""

    @property
    def capabilities(self) -> JsonObject:
        """Of the other side."""
        found = self.about.get("capabilities")
        return found if isinstance(found, dict) else {}

    @property
    def can_change(self) -> bool:
        """Whether it says that a list of it may change."""
        return any(isinstance(offer, dict) and offer.get("listChanged") for offer in self.capabilities.values())

    @property
    def is_modern(self) -> bool:
        """Whether each request says for itself what it needs."""
        return jsonrpc.is_modern(self.version)

    def wanted(self, uris: Sequence[str]) -> JsonObject:
        """The params of `subscriptions/listen`: changes of every list that the other side may change, and of resources."""
        offered = self.capabilities
        lists = {f"{name}ListChanged": True for name in ("tools", "prompts", "resources") if name in offered}
        return {"notifications": {**lists, "resourceSubscriptions": list(uris)} if uris else lists}


async def greet(say: Say, era: Era, capabilities: JsonObject, probe_s: float | None) -> Greeting:
    """Agree on a revision; after the handshake `notifications/initialized` is still to be sent. Raises `ToolFault`.

    `capabilities` are declared for as long as the connection stands, which only the older revisions know. Without `probe_s` no
    answer says nothing of the revision.
    """
    if era == MODERN:
        return Greeting(MODERN, await _discover(say))
    if era == "auto":
        try:
            async with asyncio.timeout(probe_s):
                about = await _discover(say)
        except TimeoutError:
            pass
        except ToolFault as fault:
            if fault.fault is not Fault.UPSTREAM_REFUSED:
                raise
        else:
            if _offers(about, MODERN):
                return Greeting(MODERN, about)
    return await _shake_hands(say, capabilities)


async def _discover(say: Say) -> JsonObject:
    """What the other side offers, by a request that changes nothing."""
    return await say("server/discover", {}, MODERN)


async def _shake_hands(say: Say, capabilities: JsonObject) -> Greeting:
    """By the older revisions' handshake.

    A server that was slow to answer `server/discover` may have settled on the newer revision by it; then it refuses the
    handshake with the error that says so, and is asked again.
    """
    try:
        about = await say(
            "initialize", {"protocolVersion": LEGACY, "capabilities": capabilities, "clientInfo": CLIENT_INFO}, LEGACY
        )
    except ToolFault as fault:
        if fault.error is None or fault.error.get("code") != jsonrpc.UNSUPPORTED_VERSION:
            raise
        return Greeting(MODERN, await _discover(say))
    version = about.get("protocolVersion")
    if version not in HANDSHAKE_PROTOCOL_VERSIONS:
        raise ToolFault(Fault.UPSTREAM_BROKE, f"the server speaks revision {version!s:.40}, which the gateway does not")
    return Greeting(version, about)


def _offers(about: JsonObject, version: str) -> bool:
    """Whether a server says that it speaks a revision."""
    offered = about.get("supportedVersions")
    return isinstance(offered, list) and version in offered
