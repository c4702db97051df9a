"""The one way of a tool call through the front, whichever revision of MCP its client speaks."""

from __future__ import annotations

from turnwise.tools_gateway.ports import Answer, Notify, Registry, Runs
from turnwise.tools_gateway.server.client import Client
from turnwise.tools_gateway.server.rounds import Rounds
from turnwise.tools_gateway.values import Caller, JsonObject, ToolFault


class Calls:
    """Lists and calls tools for a client."""

    def __init__(self, runs: Runs, registry: Registry, rounds: Rounds) -> None:
        self._runs = runs
        self._registry = registry
        self._rounds = rounds

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
            return await self._runs.call(client.principal, name, arguments, client.meta, notify, answer, caller)

        tool = self._registry.resolve(name, client.principal)
        bound = (client.principal.tenant, "tools/call", *((tool.key.upstream, tool.key.tool) if tool else ("", name)))
        try:
            return await self._rounds.run(client, params, bound, ask)
        except ToolFault as fault:
            if fault.error is not None:
                raise
            return failed(fault.message)


def failed(message: str) -> JsonObject:
    """A result that tells the model why there is none."""
    return {"content": [{"type": "text", "text": message}], "isError": True}
