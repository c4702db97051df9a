"""The one way of a tool call through the front, whichever revision of MCP its client speaks."""

from __future__ import annotations

import asyncio
import logging

from turnwise.tools_gateway.ports import AgentCall, Answer, Notify, Registry, Runs
from turnwise.tools_gateway.server.client import Client
from turnwise.tools_gateway.server.rounds import Rounds
from turnwise.tools_gateway.values import Caller, JsonObject, ToolFault

logger = logging.getLogger(__name__)

CUT = "The tools gateway is stopping, and the call was cut off before it had its result. It may still have its effect."


class Calls:
    """Lists and calls tools for a client."""

    def __init__(self, runs: Runs, registry: Registry, rounds: Rounds) -> None:
        self._runs = runs
        self._registry = registry
        self._rounds = rounds
        self._under_way: set[asyncio.Task[object]] = set()
        self._cut: set[asyncio.Task[object]] = set()

    def list(self, client: Client) -> JsonObject:
        """The tools that it may call, in an order that changes only with them."""
        return {"tools": [tool.definition for tool in self._registry.tools(client.principal)]}

    async def call(self, client: Client, params: JsonObject) -> JsonObject:
        """Give the result of a `tools/call`; where there is none, one that says why in words for the model.

        Raises `ToolFault` only where its `error` is one of the protocol: the upstream's own, or of what the client sent.
        """
        name = params["name"]
        arguments = params.get("arguments") or {}

        async def ask(caller: Caller, notify: Notify, answer: Answer | None) -> JsonObject:
            return await self._runs.call(AgentCall(client.principal, name, arguments, client.meta, notify, answer, caller))

        tool = self._registry.resolve(name, client.principal)
        bound = (client.principal.tenant, "tools/call", *((tool.key.upstream, tool.key.tool) if tool else ("", name)))
        this = asyncio.current_task()
        assert this is not None
        self._under_way.add(this)
        try:
            return await self._rounds.run(client, params, bound, ask)
        except ToolFault as fault:
            if fault.error is not None:
                raise
            return failed(fault.message)
        except asyncio.CancelledError:
            if this not in self._cut or this.uncancel():
                raise
            return failed(CUT)
        finally:
            self._under_way.discard(this)
            self._cut.discard(this)

    def cut(self) -> int:
        """Cut off all calls under way, each with a result that says so; gives how many there were."""
        cut = self._under_way - self._cut
        self._cut |= cut
        for task in cut:
            task.cancel()
        if cut:
            logger.warning("stopping: %d calls were still under way and are cut off", len(cut))
        return len(cut)


def failed(message: str) -> JsonObject:
    """A result that tells the model why there is none."""
    return {"content": [{"type": "text", "text": message}], "isError": True}
