"""Requests and answers over one duplex line, in either direction and in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.upstreams import jsonrpc
from turnwise.tools_gateway.upstreams.jsonrpc import Message
from turnwise.tools_gateway.values import PROGRESS, Fault, JsonObject, ToolFault

MAX_UNREAD = 256
"""Notifications of one request that its caller has not taken yet; more are dropped, for the next one tells as much."""

_ALIVE = Message(result={})

SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"

News = Callable[[str, JsonObject], None]
"""Hears what an upstream says outside of any request: method, params."""


class Dialogue:
    """One side of a JSON-RPC connection; `write` takes whole messages without their line end and may raise `ToolFault`."""

    def __init__(self, who: str, write: Callable[[bytes], None], news: News) -> None:
        self._who, self._write, self.news = who, write, news
        self._waiting: dict[int, _Call] = {}
        self._last = 0
        self._check: _Call | None = None
        self.lost: ToolFault | None = None

    async def ask(
        self,
        method: str,
        params: JsonObject,
        version: str,
        *,
        capabilities: JsonObject | None = None,
        notify: Notify | None = None,
        answer: Answer | None = None,
        is_check: bool = False,
    ) -> JsonObject:
        """Send a request and give its result; being cancelled cancels it on the other side. Raises `ToolFault`.

        One that `is_check` only has to find out whether the other side answers: whatever it answers next, to a request that
        nobody waits for any more too, ends it with nothing. Who works off one request after another comes to it last.
        """
        if self.lost is not None:
            raise self.lost
        self._last += 1
        number, call = self._last, _Call(is_listening=notify is not None, can_answer=answer is not None)
        progress_token = number if notify is not None else None
        self._write(
            jsonrpc.encode_request(number, method, jsonrpc.outgoing(params, version, capabilities or {}, progress_token))
        )
        self._waiting[number] = call
        if is_check:
            self._check = call
        try:
            while True:
                item = await call.inbox.get()
                if isinstance(item, ToolFault):
                    raise item
                if not item.method:
                    return jsonrpc.outcome(item, self._who)
                if item.id is not None:
                    assert answer is not None  # no other call is given what the other side asks
                    self._write(await jsonrpc.reply(item, answer))
                elif notify is not None:
                    is_progress = item.method == PROGRESS
                    await notify(item.method, jsonrpc.with_token_of(params, item.params) if is_progress else item.params)
        finally:
            if self._check is call:
                self._check = None
            if self._waiting.pop(number, None) is not None and method not in jsonrpc.NOT_CANCELLED:
                self._cancel(number)

    def tell(self, method: str, params: JsonObject) -> None:
        """Send a notification."""
        self._write(jsonrpc.encode_notification(method, params))

    def receive(self, raw: bytes) -> bool:
        """Take one line of the other side; True where it answers a request that waits."""
        try:
            message = jsonrpc.decode(raw)
        except ValueError as error:
            return self.fail(raw, Fault.UPSTREAM_BROKE, f"{self._who} said what is no MCP: {error}")
        if message.method:
            self._asked(message) if message.id is not None else self._told(message)
            return False
        if not isinstance(message.id, int):
            return False
        if self._check is not None and 0 < message.id <= self._last:
            self._check.inbox.put_nowait(_ALIVE)
        return self._end(message.id, message)

    def fail(self, raw: bytes, fault: Fault, message: str) -> bool:
        """End the request whose answer begins so and cannot be read; False where nothing tells which that is."""
        number = jsonrpc.id_at_head(raw)
        if number is None and len(self._waiting) == 1:
            (number,) = self._waiting
        return number is not None and self._end(number, ToolFault(fault, message))

    def lose(self, message: str) -> None:
        """The connection is gone: whoever waits is told, and whoever asks later."""
        if self.lost is None:
            self.lost = ToolFault(Fault.UPSTREAM_DOWN, message)
            for call in self._waiting.values():
                call.inbox.put_nowait(ToolFault(Fault.UPSTREAM_BROKE, message))
            self._waiting.clear()

    def _end(self, number: int, item: Message | ToolFault) -> bool:
        """Give a request what it waits for; False where it waits no more."""
        call = self._waiting.pop(number, None)
        if call is not None:
            call.inbox.put_nowait(item)
        return call is not None

    def _told(self, message: Message) -> None:
        """Hand a notification to the request it belongs to, or to all."""
        params = message.params
        number = params.get("progressToken") if message.method == PROGRESS else _subscription(params)
        if number is None:
            self.news(message.method, params)
            return
        call = self._waiting.get(number) if isinstance(number, int) else None
        if call is not None and call.is_listening and call.inbox.qsize() < MAX_UNREAD:
            call.inbox.put_nowait(message)

    def _asked(self, message: Message) -> None:
        """Have a request of the other side answered.

        Over one line nothing says within which of ours it was made: where more than one caller could answer, none is asked.
        """
        able = [call for call in self._waiting.values() if call.can_answer]
        if message.method != "ping" and len(able) == 1 and able[0].inbox.qsize() < MAX_UNREAD:
            able[0].inbox.put_nowait(message)
        else:
            self._write(jsonrpc.reply_alone(message))

    def _cancel(self, number: int) -> None:
        """Tell the other side that nobody waits any more; a line that takes nothing is found out by the next request."""
        try:
            self.tell("notifications/cancelled", {"requestId": number, "reason": "nobody waits for it any more"})
        except ToolFault as fault:
            self.lose(fault.message)


class _Call:
    """A request that waits, and what came for it."""

    __slots__ = ("can_answer", "inbox", "is_listening")

    def __init__(self, *, is_listening: bool, can_answer: bool) -> None:
        self.inbox: asyncio.Queue[Message | ToolFault] = asyncio.Queue()
        self.is_listening, self.can_answer = is_listening, can_answer


def _subscription(params: JsonObject) -> object:
    """The request within which a notification was sent, where it says so."""
    meta = params.get("_meta")
    return meta.get(SUBSCRIPTION_KEY) if isinstance(meta, dict) else None
