"""What the pipeline asks of this room: somebody who watches an answer for tool calls, and tells the gateway of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from turnwise.dialects.base import Tap, Watcher
from turnwise.dialects.calling import CallWatcher, Ending
from turnwise.dialects.calling_chat import ChatCalls
from turnwise.dialects.calling_messages import MessagesCalls
from turnwise.dialects.calling_responses import ResponsesCalls
from turnwise.events import ReplicaFacts
from turnwise.proxy.dispatch.answer import AnswerCalls, Told
from turnwise.proxy.dispatch.call import WrittenCall
from turnwise.proxy.dispatch.drift import Combination, Drifts
from turnwise.proxy.dispatch.offers import Offers
from turnwise.proxy.dispatch.taint import is_tainted
from turnwise.proxy.programs import Turn
from turnwise.proxy.programs.spans import tool_span
from turnwise.tools_gateway.messages import Announced, Void, WhyNotEarly
from turnwise.types import DialectName, Request

CLEAN = "clean"
"""What became of a call that is not void, beside the reasons of those that are."""

_WATCHERS: Mapping[DialectName, type[CallWatcher]] = {
    DialectName.CHAT: ChatCalls,
    DialectName.MESSAGES: MessagesCalls,
    DialectName.RESPONSES: ResponsesCalls,
}
_VOIDS: Mapping[Ending, Void | None] = {
    Ending.CLEAN: None,
    Ending.LENGTH: Void.LENGTH,
    Ending.FILTERED: Void.FILTERED,
    Ending.REFUSED: Void.REFUSED,
    Ending.STOPPED: Void.STOPPED,
    Ending.BROKEN: Void.BROKEN,
}


class Teller(Protocol):
    """Takes messages for the tools gateway."""

    @property
    def is_listening(self) -> bool:
        """Whether somebody is there to be told; asked when an answer begins."""

    def tell(self, message: Told) -> None:
        """Send a message on; never waits, never raises."""


class Carried(Protocol):
    """What became of an answer on its way to the client."""

    @property
    def is_complete(self) -> bool:
        """Whether all of it was written to the client."""

    @property
    def is_client_gone(self) -> bool:
        """Whether the client left before that."""


class Dispatch:
    """Makes watches, and counts what came of them. `on_early_off` hears of a combination of which nothing is early any more."""

    def __init__(self, teller: Teller, on_early_off: Callable[[Combination], None]) -> None:
        self._teller = teller
        self._offers = Offers()
        self.drifts = Drifts(on_early_off)
        self.fates: Counter[tuple[DialectName, str]] = Counter()
        """Calls that were told of, by API and what became of them: `clean`, or why they are void."""

    def watch(
        self, request: Request, turn: Turn | None, replica: ReplicaFacts | None, tap: Tap | None, beside: Watcher
    ) -> Watch | None:
        """Watch an answer beside `beside`, which sees it first; `tap` knows its usage.

        None where nobody listens, or the request offers no tools.
        """
        watcher = _WATCHERS.get(request.dialect)
        if watcher is None or request.prompt is None or request.chain is None or not self._teller.is_listening:
            return None
        names = self._offers.of(request.prompt, request.chain)
        if names is None:
            return None
        combination = Combination.of(replica, request.model, request.dialect)
        return Watch(self, self._teller, watcher, request, turn, names, combination, tap, beside)

    def settled(self, combination: Combination, calls: AnswerCalls, why: Void | None) -> None:
        """Count what became of the calls of an answer."""
        num_drifts = 0
        for void in calls.voids:
            self.fates[combination.dialect, void.value] += 1
            num_drifts += void is Void.DRIFT
        num_rest = calls.num_announced - len(calls.voids)
        if num_rest:
            self.fates[combination.dialect, CLEAN if why is None else why.value] += num_rest
        self.drifts.wrote(combination, calls.num_announced, num_drifts)


class Watch:
    """Watches one answer; it is settled once, whatever happens."""

    unread = None
    """See `Watcher.unread`: a call is told of when it is written, so every read is fed."""

    def __init__(
        self,
        dispatch: Dispatch,
        teller: Teller,
        watcher: type[CallWatcher],
        request: Request,
        turn: Turn | None,
        names: frozenset[str],
        combination: Combination,
        tap: Tap | None,
        beside: Watcher,
    ) -> None:
        self._dispatch = dispatch
        self._request = request
        self._turn = turn
        self._names = names
        self._combination = combination
        self._tap = tap
        self._beside = beside
        self._is_tainted: bool | None = None
        self._calls = AnswerCalls(request.call_id, self._announce, teller.tell)
        self._watcher = watcher(self._calls, is_one_of_several=request.num_choices > 1)

    def on_head(self, status: int, *, is_stream: bool) -> None:
        """See `Watcher.on_head`."""
        self._beside.on_head(status, is_stream=is_stream)
        self._watcher.on_head(status, is_stream=is_stream)

    def feed(self, data: bytes, now: float) -> None:
        """See `Watcher.feed`."""
        self._beside = self._beside.feed(data, now) or self._beside
        self._watcher.feed(data, now)

    def close(self, now: float) -> None:
        """See `Watcher.close`."""
        self._beside.close(now)
        self._watcher.close(now)

    def settle(self, carried: Carried | None, now: float) -> None:
        """Tell how the answer ended; `carried` is None where nobody knows, for a bug or because the call was cancelled."""
        why = self._calls.settle(self._why(carried), now)
        self._dispatch.settled(self._combination, self._calls, why)

    def _why(self, carried: Carried | None) -> Void | None:
        """Why nothing of the answer may be used, as far as its calls do not tell."""
        if carried is None:
            return Void.BROKEN
        if carried.is_client_gone:
            return Void.CLIENT_GONE
        if not carried.is_complete:
            return Void.BROKEN
        why = _VOIDS[self._watcher.ending]
        if why is None and self._may_be_cut():
            return Void.LENGTH
        return why

    def _may_be_cut(self) -> bool:
        """Whether the engine used all tokens that it was allowed, whatever it says of the end; or nobody knows how many."""
        limit = self._request.max_tokens
        if limit is None:
            return False
        usage = None if self._tap is None else self._tap.usage
        return usage is None or usage.completion_tokens >= limit

    def _announce(self, call: WrittenCall, now: float) -> Announced:
        request, turn = self._request, self._turn
        tenant = program = traceparent = ""
        if turn is not None:
            key = turn.key
            tenant, program = key.tenant, key.id
            span = tool_span(request.call_id, call.id or f"#{call.index}").hex()
            traceparent = f"00-{key.trace_id.hex()}-{span}-0{int(key.is_sampled)}"
        if self._is_tainted is None:
            self._is_tainted = is_tainted(request)
        return Announced(
            request.call_id,
            call.index,
            call.name,
            call.id,
            now,
            tenant,
            program,
            self._why_not_early(call.name),
            self._is_tainted,
            traceparent,
        )

    def _why_not_early(self, name: str) -> WhyNotEarly | None:
        if self._request.num_choices > 1 or self._request.hints.is_one_of_several:
            return WhyNotEarly.SEVERAL_CHOICES
        if name not in self._names:
            return WhyNotEarly.NOT_OFFERED
        return WhyNotEarly.DRIFT if self._combination in self._dispatch.drifts.off else None
