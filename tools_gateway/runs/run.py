"""One run of a tool, from the queue to its end; those who want its outcome come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from turnwise.tools_gateway.messages import Step
from turnwise.tools_gateway.ports import Answer
from turnwise.tools_gateway.runs.hearers import Hearer
from turnwise.tools_gateway.runs.rooms import Rooms
from turnwise.tools_gateway.runs.values import Outcome, ToolCall
from turnwise.tools_gateway.schedule import Ticket, is_hopeless
from turnwise.tools_gateway.values import PROGRESS, Fate, Fault, JsonObject, Request, ToolFault, ToolState

logger = logging.getLogger(__name__)

RETRY_PAUSES_S = (0.1, 0.4)
"""Before an idempotent tool is asked again where nothing was sent: a session that broke may be back by then."""

TOLD_S = 0.25
"""Least pause between two tellings of progress; what a tool tells its own caller is all passed on."""

_UNASKED = frozenset({Fault.UPSTREAM_DOWN, Fault.BUG})
"""Faults of runs that may not have come as far as to ask."""

Follower = Callable[["Run", Step], None]
"""Hears how far a run has come."""


class Run:
    """A run that begins at once, as a task of its own, and ends when it has an outcome or when nobody holds it any more."""

    def __init__(self, call: ToolCall, rooms: Rooms, *, is_early: bool, answer: Answer | None = None) -> None:
        marks = call.tool.marks
        forecast = rooms.forecaster.forecast(call.tool.key, call.num_bytes)
        self.call = call
        self.queued_at = rooms.clock()
        self.started_at: float | None = None
        """When it had its slot."""
        self.ended_at: float | None = None
        self.forecast = forecast
        """As it was when the run began."""
        self.is_claimed = not is_early
        """Whether an agent's call stands behind it."""
        self.is_attributed = is_early
        """Whether it belongs to an announcement."""
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._rooms = rooms
        self._answer = answer
        self._is_answered = False
        """Whether a client was asked, whatever it said."""
        self._is_trusted = not is_early
        """Whether it may be learned from: not before the turn in which it was begun has ended well."""
        self._is_learned = False
        self._asked_at: float | None = None
        """When the upstream was asked last."""
        self._num_holders = 0
        self._hearers: list[Hearer] = []
        self._followers: list[Follower] = []
        self._patience: asyncio.Timeout | None = None
        self._last_at = self.queued_at + max(marks.deadline_s, rooms.limits.max_run_s)
        """Nobody waits longer, whatever progress is told."""
        self._told_at = self.queued_at
        self._ticket = Ticket(
            call.credential,
            call.tool.key,
            call.principal.tenant,
            max_running=rooms.max_running.get(call.credential.upstream, marks.max_running),
            max_tool_running=marks.max_running,
            entered_at=self.queued_at,
            expected_s=forecast.p50_s,
            is_early=is_early,
        )
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"run of {call.tool.name}")
        self.task.add_done_callback(self._close)

    @property
    def predicted_s(self) -> float | None:
        """How long it was expected to take when it began; None where nothing was known."""
        return self.forecast.p50_s if self.forecast.num_samples else None

    @property
    def is_over(self) -> bool:
        """Whether it has its outcome."""
        return self.outcome.done()

    @property
    def was_asked(self) -> bool:
        """Whether its upstream was asked, as far as is known: one that is down was not."""
        fault = self.outcome.result().fault if self.is_over else None
        return self._asked_at is not None and (fault is None or fault.fault not in _UNASKED)

    @property
    def seconds(self) -> float:
        """Since its upstream was asked, or until that answered; 0 where it never was."""
        return self.outcome.result().seconds if self.is_over else self._seconds()

    @property
    def may_ask(self) -> bool:
        """Whether its upstream may ask the client of the call it was begun for: what comes of it may be that client's alone."""
        return self._answer is not None and bool(self.call.caller.capabilities)

    @property
    def is_wanted(self) -> bool:
        """Whether it goes on, and somebody holds it."""
        return self._num_holders > 0 and not self.is_over

    @property
    def step(self) -> Step:
        """How far it is."""
        if self.is_over:
            return Step.FINISHED
        return Step.QUEUED if self.started_at is None else Step.STARTED

    def hold(self, hearer: Hearer | None = None) -> None:
        """Want its outcome; `hearer` is told what the upstream tells of it."""
        self._num_holders += 1
        if hearer is not None:
            self._hearers.append(hearer)

    def let_go(self, hearer: Hearer | None = None) -> None:
        """Want it no longer; the last one to go cancels it."""
        self._num_holders -= 1
        if hearer is not None:
            self._hearers.remove(hearer)
        if not self._num_holders and not self.is_over:
            self.task.cancel()

    def claim(self) -> None:
        """An agent's call stands behind it from now on: it queues among those."""
        self.is_claimed = True
        self._rooms.slots.promote(self._ticket)

    def trust(self) -> None:
        """Its turn ended well, or an agent asked for it: it may be learned from."""
        self._is_trusted = True
        if self.is_over:
            self._learn(self.outcome.result())

    def distrust(self) -> None:
        """Nothing is learned from it, unless somebody else holds it."""
        if not self._num_holders:
            self._is_trusted = False

    def follow(self, follower: Follower) -> None:
        """Tell someone how far it comes from now on."""
        self._followers.append(follower)

    def unfollow(self, follower: Follower) -> None:
        """Tell them no more."""
        if follower in self._followers:
            self._followers.remove(follower)

    async def _run(self) -> None:
        try:
            outcome = await self._perform()
        except Exception:
            logger.exception("a run of %s failed within the gateway", self.call.tool.name)
            fault = ToolFault(Fault.BUG, "The tools gateway failed; this is no fault of the call.")
            outcome = Outcome(Fate.FAULT, self._seconds(), fault=fault)
        self._end(outcome)

    def _close(self, _task: asyncio.Task[None]) -> None:
        """Give a cancelled run its outcome, which a task that was cancelled before its first step could not."""
        if not self.is_over:
            self._end(Outcome(Fate.CANCELLED, self._seconds(), fault=ToolFault(Fault.CANCELLED, "The call was cancelled.")))

    async def _perform(self) -> Outcome:
        """Wait for a slot, ask, and look at what came."""
        deadline_s = self.call.tool.marks.deadline_s
        try:
            # The deadline counts from the moment of asking, the queue included: that is what the caller waits.
            async with asyncio.timeout(deadline_s) as self._patience:
                await self._rooms.slots.enter(self._ticket)
                try:
                    self._start(deadline_s)
                    result = await self._ask()
                finally:
                    self._rooms.slots.leave(self._ticket)
            seconds = self._seconds()
            result = self._rooms.guard.result(self.call.tool, result)
        except TimeoutError:
            if self._patience is None or not self._patience.expired():
                raise
            return Outcome(Fate.TIMEOUT, self._seconds(), fault=ToolFault(Fault.DEADLINE, self._too_late()))
        except ToolFault as fault:
            return Outcome(fault.fate, self._seconds(), fault=self._rooms.guard.refusal(fault))
        return Outcome(Fate.ERROR if result.get("isError") is True else Fate.SUCCESS, seconds, result)

    def _too_late(self) -> str:
        name = self.call.tool.name
        if self.started_at is None:
            return f"{name} was not begun: its time passed while it waited for its turn. It had no effect."
        return f"{name} did not answer in time." + (
            "" if self.call.tool.marks.is_read_only else " It may still have its effect."
        )

    def _start(self, deadline_s: float) -> None:
        """Begin, unless the tool was closed or too little time is left; raises `ToolFault`."""
        now = self._rooms.clock()
        name = self.call.tool.name
        tool = self._rooms.registry.resolve(name, self.call.principal)
        if tool is None or tool.state is not ToolState.READY:
            why = "it is no longer offered" if tool is None else tool.why or tool.state
            raise ToolFault(Fault.NOT_ALLOWED, f"{name} was not begun: it may no longer be called ({why}). It had no effect.")
        if self._ticket.has_waited:
            forecast = self._rooms.forecaster.forecast(self.call.tool.key, self.call.num_bytes)
            if is_hopeless(forecast, self.queued_at + deadline_s - now):
                raise ToolFault(
                    Fault.DEADLINE,
                    f"{name} was not begun: it waited {now - self.queued_at:.1f} s for its turn, and what is "
                    "left of its time is less than it takes. It had no effect.",
                )
        self.started_at = now
        self._tell(Step.STARTED)

    async def _ask(self) -> JsonObject:
        """Ask the upstream; again, where the operator calls the tool idempotent and nothing was sent."""
        call = self.call
        params: JsonObject = {"name": call.tool.key.tool, "arguments": call.arguments}
        if call.caller.input_responses is not None:
            params["inputResponses"] = call.caller.input_responses
        if call.caller.request_state is not None:
            params["requestState"] = call.caller.request_state
        if call.meta:
            params["_meta"] = call.meta
        is_idempotent = call.tool.marks.is_idempotent
        request = Request("tools/call", params, self._last_at, call.caller.capabilities)
        for pause_s in RETRY_PAUSES_S if is_idempotent else ():
            try:
                return await self._ask_once(request)
            except ToolFault as fault:
                if fault.fault is not Fault.UPSTREAM_DOWN:
                    raise
            await asyncio.sleep(pause_s)
        return await self._ask_once(request)

    async def _ask_once(self, request: Request) -> JsonObject:
        self._asked_at = self._rooms.clock()
        answer = self._ask_client if self._answer is not None else None
        return await self._rooms.upstreams.ask(self.call.credential, request, self._notify, answer)

    async def _ask_client(self, method: str, params: JsonObject) -> JsonObject:
        assert self._answer is not None
        asked = self._rooms.guard.relayed(self.call.tool.key.upstream, params)
        self._is_answered = True
        return await self._answer(method, asked)

    async def _notify(self, method: str, params: JsonObject) -> None:
        """Pass on what the upstream tells of this run; progress buys it time."""
        if method == PROGRESS:
            self._extend()
        for hearer in tuple(self._hearers):
            await hearer.tell(method, params)

    def _extend(self) -> None:
        now = self._rooms.clock()
        # What nobody has asked for is bounded by what the operator wrote.
        if self.is_claimed and self._patience is not None and not self._patience.expired():
            until = min(now + self.call.tool.marks.deadline_s, self._last_at)
            self._patience.reschedule(asyncio.get_running_loop().time() + until - now)
        if now - self._told_at >= TOLD_S:
            self._told_at = now
            self._tell(Step.PROGRESSED)

    def _end(self, outcome: Outcome) -> None:
        self.ended_at = self._rooms.clock()
        if self._is_answered:
            outcome = msgspec.structs.replace(outcome, is_answered=True)
        self.outcome.set_result(outcome)
        if self._is_trusted:
            self._learn(outcome)
        self._tell(Step.FINISHED)

    def _learn(self, outcome: Outcome) -> None:
        """Feed the runtime table once, with what an upstream was asked and did."""
        if self._is_learned or not self.was_asked or outcome.is_personal:
            return
        self._is_learned = True
        call = self.call
        self._rooms.forecaster.observe(call.tool.key, call.num_bytes, outcome.seconds, outcome.fate, self._rooms.clock())

    def _seconds(self) -> float:
        return 0.0 if self._asked_at is None else self._rooms.clock() - self._asked_at

    def _tell(self, step: Step) -> None:
        for follower in tuple(self._followers):
            follower(self, step)
