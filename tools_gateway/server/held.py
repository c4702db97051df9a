"""Calls in whose midst an upstream of the older revision asks something of a client of the newer one.

Such a client is asked in the answer (`input_required`) and brings what was wanted with the same request made again. Until then
the call goes on upstream, as long as it may.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.server.client import Client, check_can_answer
from turnwise.tools_gateway.values import Fault, JsonObject, ToolFault

HOLD_S = 300.0
"""For a client to come back; a tool's own deadline may end the call sooner."""
MAX_HELD = 1024

Begin = Callable[[Notify, Answer], Awaitable[JsonObject]]


class HeldCall:
    """One call, which `go_on` takes from one question of its upstream to the next."""

    def __init__(self, client: Client, begin: Begin) -> None:
        self._client: Client | None = client
        self._capabilities = client.capabilities
        self._num_asked = 0
        self._question: JsonObject = {}
        """What is asked and not answered yet, by its key; empty for nothing."""
        self._given: asyncio.Future[JsonObject] | None = None
        self._stirred = asyncio.Event()
        self._task = asyncio.ensure_future(begin(self._tell, self._ask))
        self._task.add_done_callback(self._ended)

    @property
    def is_over(self) -> bool:
        """Whether it has its result, or never will."""
        return self._task.done()

    async def go_on(self, client: Client, responses: JsonObject) -> JsonObject:
        """Give what was wanted; gives the result, or the `input_required` of what is asked next. Raises `ToolFault`.

        Leaving it cancels the call.
        """
        self._client = client
        self._answer(responses)
        try:
            while not self._task.done() and not self._question:
                self._stirred.clear()
                await self._stirred.wait()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        self._client = None
        if self._task.cancelled():
            raise ToolFault(Fault.CANCELLED, "The call was cancelled.")
        if self._task.done():
            return self._task.result()
        return {"resultType": "input_required", "inputRequests": self._question}

    async def aclose(self) -> None:
        """Cancel the call."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def cancel(self) -> None:
        """The same, without waiting."""
        self._task.cancel()

    async def _tell(self, method: str, params: JsonObject) -> None:
        if self._client is not None:
            await self._client.notify(method, params)

    async def _ask(self, method: str, params: JsonObject) -> JsonObject:
        check_can_answer(self._capabilities, method, params)
        if self._question:
            raise ToolFault(Fault.NOT_ALLOWED, "The client has yet to answer what it was asked before.")
        self._num_asked += 1
        self._question = {f"asked-{self._num_asked}": {"method": method, "params": params}}
        self._given = asyncio.get_running_loop().create_future()
        self._stirred.set()
        try:
            return await self._given
        finally:
            self._question = {}

    def _answer(self, responses: JsonObject) -> None:
        """Give the upstream what it asked for, where it is among what the client brings."""
        for key in self._question.keys() & responses.keys():
            assert self._given is not None
            given = responses[key]
            if isinstance(given, dict):
                self._given.set_result(given)
            else:
                self._given.set_exception(ToolFault(Fault.NOT_ALLOWED, "The client answered with what is no MCP."))
            self._question = {}

    def _ended(self, task: asyncio.Future[JsonObject]) -> None:
        self._stirred.set()
        if not task.cancelled():
            task.exception()  # its client may never come back to hear of it


class Held:
    """The calls that wait for their clients, each for `hold_s` at most."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        self._waiting: dict[str, tuple[HeldCall, asyncio.TimerHandle]] = {}

    def put(self, call: HeldCall) -> str:
        """Keep a call, and give the word by which it is had again; raises `ToolFault` where too many wait."""
        if len(self._waiting) >= MAX_HELD:
            call.cancel()
            raise ToolFault(Fault.QUEUE_FULL, "The tool asked for input, and too many calls wait for some already.")
        word = secrets.token_urlsafe(16)
        self._waiting[word] = call, asyncio.get_running_loop().call_later(self._hold_s, self._give_up, word)
        return word

    def take(self, word: str) -> HeldCall | None:
        """The call that was put under a word, for once; None where it waits no more."""
        call, timer = self._waiting.pop(word, (None, None))
        if timer is not None:
            timer.cancel()
        return call

    async def aclose(self) -> None:
        """Cancel all that wait."""
        waiting = [call for word in list(self._waiting) if (call := self.take(word)) is not None]
        await asyncio.gather(*(call.aclose() for call in waiting))

    def _give_up(self, word: str) -> None:
        call, _ = self._waiting.pop(word)
        call.cancel()
