"""Requests that an upstream wants gone on with: it answers `input_required`, and is asked again with what it wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.server.client import Client, can_answer, check_can_answer
from turnwise.tools_gateway.server.held import Held, HeldCall
from turnwise.tools_gateway.server.request_state import Seal
from turnwise.tools_gateway.values import Caller, Fault, JsonObject, ToolFault

MAX_ROUNDS = 8
"""Of one request on behalf of a client that cannot go on by itself."""
INVALID_PARAMS = -32602
UNKNOWN_STATE = (
    "requestState is not one that was given for this request, it is too old, or the gateway was started anew since: "
    "make the request again without it"
)

HELD = "held"
"""Sets the words of held calls apart from the states of upstreams, under one seal."""

Ask = Callable[[Caller, Notify, Answer | None], Awaitable[JsonObject]]


class Rounds:
    """Relays `input_required` to clients that know it, and plays their part for those that do not."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._held = Held()

    async def run(self, client: Client, params: JsonObject, bound: tuple[str, ...], ask: Ask) -> JsonObject:
        """Give the result of a request, or one that asks for input where the client can go on by itself; raises `ToolFault`.

        `bound` says what the request is: only the same request may bring a state back.
        """
        if client.answer is None:
            return await self._relayed(client, params, bound, ask)
        result = await ask(self._caller(client, params, bound), client.notify, client.answer)
        for _ in range(MAX_ROUNDS):
            if result.get("resultType") != "input_required":
                return result
            wanted = _wanted(client, result)
            given = {key: await client.answer(method, asked) for key, (method, asked) in wanted.items()}
            caller = Caller(client.capabilities, given, result.get("requestState"))
            result = await ask(caller, client.notify, client.answer)
        raise ToolFault(Fault.UPSTREAM_BROKE, f"The tool asked for input more than {MAX_ROUNDS} times.")

    async def aclose(self) -> None:
        """Cancel the calls that wait for their clients."""
        await self._held.aclose()

    async def _relayed(self, client: Client, params: JsonObject, bound: tuple[str, ...], ask: Ask) -> JsonObject:
        """The same for a client that goes on by itself."""
        call = self._resumed(params, bound)
        if call is None:
            caller = self._caller(client, params, bound)
            if not can_answer(client.capabilities):
                return self._sealed(client, await ask(caller, client.notify, None), bound)
            call = HeldCall(client, lambda notify, answer: ask(caller, notify, answer))
        result = await call.go_on(client, params.get("inputResponses") or {})
        if not call.is_over:
            return {**result, "requestState": self._seal.seal(self._held.put(call), (*bound, HELD))}
        return self._sealed(client, result, bound)

    def _sealed(self, client: Client, result: JsonObject, bound: tuple[str, ...]) -> JsonObject:
        """A result as the client is given it: with a state that only the same request brings back."""
        if result.get("resultType") != "input_required":
            return result
        _wanted(client, result)
        state = result.get("requestState")
        return result if state is None else {**result, "requestState": self._seal.seal(str(state), bound)}

    def _resumed(self, params: JsonObject, bound: tuple[str, ...]) -> HeldCall | None:
        """The call that a request goes on with; None where it goes on with none that is held."""
        sealed = params.get("requestState")
        word = self._seal.open(sealed, (*bound, HELD)) if isinstance(sealed, str) else None
        return None if word is None else self._held.take(word)

    def _caller(self, client: Client, params: JsonObject, bound: tuple[str, ...]) -> Caller:
        sealed = params.get("requestState")
        if sealed is None:
            return Caller(client.capabilities, params.get("inputResponses"))
        state = self._seal.open(sealed, bound) if isinstance(sealed, str) else None
        if state is None:
            message = UNKNOWN_STATE
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
