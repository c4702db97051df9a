"""Requests that an upstream wants gone on with: it answers `input_required`, and is asked again with what it wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from turnwise.tools_gateway.server.client import Client, check_can_answer
from turnwise.tools_gateway.server.request_state import Seal
from turnwise.tools_gateway.values import Caller, Fault, JsonObject, ToolFault

MAX_ROUNDS = 8
"""Of one request on behalf of a client that cannot go on by itself."""
INVALID_PARAMS = -32602

Ask = Callable[[Caller], Awaitable[JsonObject]]


class Rounds:
    """Relays `input_required` to clients that know it, and plays their part for those that do not."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    async def run(self, client: Client, params: JsonObject, bound: tuple[str, ...], ask: Ask) -> JsonObject:
        """Give the result of a request, or one that asks for input where the client can go on by itself; raises `ToolFault`.

        `bound` says what the request is: only the same request may bring a state back.
        """
        result = await ask(self._caller(client, params, bound))
        for _ in range(MAX_ROUNDS):
            if result.get("resultType") != "input_required":
                return result
            wanted = _wanted(client, result)
            if client.answer is None:
                state = result.get("requestState")
                return result if state is None else {**result, "requestState": self._seal.seal(str(state), bound)}
            given = {key: await client.answer(method, asked) for key, (method, asked) in wanted.items()}
            result = await ask(Caller(client.capabilities, given, result.get("requestState")))
        raise ToolFault(Fault.UPSTREAM_BROKE, f"The tool asked for input more than {MAX_ROUNDS} times.")

    def _caller(self, client: Client, params: JsonObject, bound: tuple[str, ...]) -> Caller:
        sealed = params.get("requestState")
        if sealed is None:
            return Caller(client.capabilities, params.get("inputResponses"))
        state = self._seal.open(sealed, bound) if isinstance(sealed, str) else None
        if state is None:
            message = "requestState is not one that was given for this request, or it is too old"
            raise ToolFault(Fault.NOT_ALLOWED, message, {"code": INVALID_PARAMS, "message": message})
        return Caller(client.capabilities, params.get("inputResponses"), state)


def _wanted(client: Client, result: JsonObject) -> dict[str, tuple[str, JsonObject]]:
    """What an upstream wants of the client, by the upstream's own keys."""
    requests = result.get("inputRequests") or {}
    if not isinstance(requests, dict) or not all(isinstance(asked, dict) for asked in requests.values()):
        raise ToolFault(Fault.UPSTREAM_BROKE, "The tool asked for input in a form that is no MCP.")
    for asked in requests.values():
        check_can_answer(client.capabilities, asked.get("method"), asked.get("params"))
    return {key: (asked["method"], asked.get("params") or {}) for key, asked in requests.items()}
