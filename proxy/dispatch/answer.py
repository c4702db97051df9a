"""The tool calls of one answer: what is told of them, each thing once, and when."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from turnwise.dialects.calling_frame import Place
from turnwise.proxy.dispatch.call import State, WrittenCall
from turnwise.tools_gateway.messages import Announced, Filled, Settled, Void, Voided
from turnwise.types import CallId

MAX_CALLS = 128
"""Tool calls of one answer of which anything is told; those behind run when the agent asks, as any that was not announced."""

MAX_CHARS = 4 * 1024 * 1024
"""Arguments of all calls of one answer that are kept; what is longer is void from there on."""

NO_ARGUMENTS = msgspec.Raw(b"{}")
"""What a call says that ends without a piece of arguments; whether its tool takes none, the gateway knows."""

Told = Announced | Filled | Voided | Settled
Announce = Callable[[WrittenCall, float], Announced]


class AnswerCalls:
    """The states of all calls of one answer, which is told about by a `CallWatcher`.

    A call is announced with the first piece of its arguments, or when it ends without any; filled when they have closed and are
    one strict JSON object; void when they cannot be, or when anything but space comes behind them. `tell` takes what the
    gateway is told.
    """

    def __init__(self, turn: CallId, announce: Announce, tell: Callable[[Told], None]) -> None:
        self._turn = turn
        self._announce = announce
        self._tell = tell
        self._calls: dict[tuple[int, Place], WrittenCall] = {}
        """The newest call in each place."""
        self._newest: dict[int, WrittenCall] = {}
        """The newest call of each choice, where calls have no end of their own."""
        self._all: list[WrittenCall] = []
        self._room = MAX_CHARS
        self.num_announced = 0
        self.num_filled = 0
        self.voids: list[Void] = []
        """Why calls were void before the answer ended, one for each."""
        self._has_open_end = False
        """Whether a call ended with its arguments open: the answer was cut, whatever it says."""

    def began(self, choice: int, place: Place, call_id: str, name: str) -> None:
        """See `Hearer.began`; what begins again without having gone on is one call."""
        known = self._calls.get((choice, place))
        if known is None or known.state is not State.NAMED or (known.id, known.name) != (call_id, name):
            self._begin(choice, place, call_id, name)

    def said(self, choice: int, place: Place, call_id: str, name: str, text: str, now: float) -> None:
        """See `Hearer.said`. A new id begins a call beside a name, or behind a whole call: some engines count all by 0.

        A call that begins so ends the one before it, as nothing else does in such an API.
        """
        call = self._calls.get((choice, place))
        if call is None or (_differ(call.id, call_id) and (name or call.state >= State.CLOSED)):
            before = self._newest.get(choice)
            if before is not None and before.state is State.NAMED:
                self._end(before, now)
            call = self._begin(choice, place, call_id, name)
            if call is None:
                return
            self._newest[choice] = call
        elif call_id or name:
            self._void(call, None if call.is_over else call.identify(call_id, name), now)
        if text and not call.is_over:
            self._add(call, text, now)

    def closed(
        self, choice: int, place: Place, now: float, *, text: str | None = None, call_id: str = "", name: str = ""
    ) -> None:
        """See `Hearer.closed`; a call of which only this is said is whole."""
        call = self._calls.get((choice, place))
        if call is None:
            call = self._begin(choice, place, call_id, name)
            if call is None:
                return
        elif (call_id or name) and not call.is_over:
            self._void(call, Void.DRIFT if _differ(call.id, call_id) or _differ(call.name, name) else None, now)
        if text and not call.is_over:
            if not call.has_arguments:
                self._add(call, text, now)
            elif not call.repeats(text):
                self._void(call, Void.DRIFT, now)
        elif text == "" and call.has_arguments:
            self._void(call, Void.DRIFT, now)
        self._end(call, now)

    def cut(self, choice: int, place: Place, now: float) -> None:
        """See `Hearer.cut`."""
        call = self._calls.get((choice, place))
        if call is not None:
            self._void(call, Void.LENGTH, now)

    def settle(self, why: Void | None, now: float) -> Void | None:
        """End the answer, void for `why`; gives why it is, where it is. It is told of only if any of its calls was.

        An answer that claims to have ended with arguments open was cut, whatever it says.
        """
        if why is None:
            for call in self._all:
                self._end(call, now)
            if self._has_open_end:
                why = Void.MALFORMED
        if self.num_announced:
            self._tell(Settled(self._turn, now, why))
        return why

    def _begin(self, choice: int, place: Place, call_id: str, name: str) -> WrittenCall | None:
        """Begin a call; None where there were too many."""
        if len(self._all) >= MAX_CALLS:
            self._calls.pop((choice, place), None)
            return None
        call = WrittenCall(len(self._all), call_id, name)
        self._all.append(call)
        self._calls[choice, place] = call
        return call

    def _add(self, call: WrittenCall, text: str, now: float) -> None:
        if call.state is State.NAMED and not self._name(call, now):
            return
        was_open = call.state is State.OPEN
        self._room -= len(text)
        why = Void.MALFORMED if self._room < 0 else call.add(text)
        if why is not None:
            self._void(call, why, now)
        elif was_open and call.state is State.CLOSED:
            arguments = call.arguments()
            if arguments is None:
                self._void(call, Void.MALFORMED, now)
            else:
                self._fill(call, arguments, now)

    def _end(self, call: WrittenCall, now: float) -> None:
        """A call has ended: without a piece of arguments it has none."""
        if call.state is State.OPEN:
            self._has_open_end = True
            self._void(call, Void.MALFORMED, now)
        elif call.state is State.NAMED and self._name(call, now):
            call.state = State.CLOSED
            self._fill(call, NO_ARGUMENTS, now)

    def _name(self, call: WrittenCall, now: float) -> bool:
        """Take a call's name for final, and tell of the call; says whether it has one."""
        if not call.name or not _is_text(call.name + call.id):
            call.state = State.NAMELESS
            return False
        call.state = State.OPEN
        self.num_announced += 1
        self._tell(self._announce(call, now))
        return True

    def _fill(self, call: WrittenCall, arguments: msgspec.Raw, now: float) -> None:
        self.num_filled += 1
        self._tell(Filled(self._turn, call.index, arguments, now))

    def _void(self, call: WrittenCall, why: Void | None, now: float) -> None:
        if why is None or call.is_over:
            return
        is_told = call.state is not State.NAMED
        call.void()
        if is_told:
            self.voids.append(why)
            self._tell(Voided(self._turn, call.index, why, now))


def _differ(known: str, repeated: str) -> bool:
    return bool(known and repeated) and known != repeated


def _is_text(said: str) -> bool:
    """Whether a text holds no half of a surrogate pair."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True
