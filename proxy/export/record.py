"""Step 7: what a finished call leaves behind: lessons for the index and the fleet, metrics, one log line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from turnwise.errors import Reason, TurnwiseError
from turnwise.index import KvIndex, Report
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.lint import Finding as Break
from turnwise.proxy.lint import Linter
from turnwise.proxy.member import Lease
from turnwise.proxy.programs import Programs, Turn
from turnwise.proxy.programs.values import Call, Ended, Key
from turnwise.proxy.workers.ports import Siblings
from turnwise.types import Outcome, Request

RECORDED_AT_ONCE = 16
"""Ended calls whose records wait no longer for `tell_calls`: a quarter of a millisecond."""


class ProgramListener(Protocol):
    """Hears of calls and programs as they end: traces, metrics."""

    def call_ended(self, key: Key, call: Call) -> None:
        """A call of this program has ended."""

    def program_ended(self, ended: Ended) -> None:
        """A program has ended; all its calls were told of before."""


class Recorder:
    """Settles calls; the only place that knows all who want to hear of an outcome.

    `siblings` is None where there are none, `linter` where prompts are not compared. Where somebody `tells_later`, the
    record of a call waits for `tell_calls`: what is read once for several stays in the caches.
    """

    def __init__(
        self,
        index: KvIndex,
        fleet: Fleet,
        metrics: Metrics,
        audit: Audit,
        clock: Callable[[], float],
        siblings: Siblings | None = None,
        linter: Linter | None = None,
        programs: Programs | None = None,
        listeners: Sequence[ProgramListener] = (),
        *,
        tells_later: bool = False,
    ) -> None:
        self._index = index
        self._fleet = fleet
        self._metrics = metrics
        self._audit = audit
        self._clock = clock
        self._siblings = siblings
        self.linter = linter
        self._programs = programs
        self._listeners = listeners
        self._tells_later = tells_later
        self.recent = audit.recent
        self.num_steps = 0
        """Beginnings and ends of calls: where it grew in a turn of the loop, others may have waited for that."""

    def begin(self, request: Request, fields: Mapping[bytes, bytes]) -> Turn | None:
        """Say to which program a call belongs; None where programs are not told apart, or it is no call."""
        self.num_steps += 1
        return None if self._programs is None else self._programs.begin(request, fields, request.read_at)

    def dropped(self, turn: Turn | None, error: BaseException) -> None:
        """Record a call of which no attempt could be made, whose client did not wait for one, or that met a bug."""
        if self._programs is not None and turn is not None and not turn.is_settled:
            self.tell_calls()
            call = self._programs.drop(turn, _reason(error).value, self._clock())
            for listener in self._listeners:
                listener.call_ended(turn.key, call)

    def sweep_programs(self, *, is_last: bool = False) -> bool:
        """Tell of some programs whose time has come, or of all where the proxy stops; says whether there are more."""
        if self._programs is None:
            return False
        self.tell_calls()
        now = self._clock()
        ended = self._programs.close(now) if is_last else self._programs.sweep(now)
        for program in ended:
            for listener in self._listeners:
                listener.program_ended(program)
        self._forget_first(self._programs)
        return self._programs.has_due(now)

    def tell_calls(self) -> None:
        """Tell of the calls of programs that have ended."""
        if self._programs is not None:
            for key, call in self._programs.take_calls():
                for listener in self._listeners:
                    listener.call_ended(key, call)

    def check_late(self) -> None:
        """Tell the linter what calls have taught since they were answered."""
        late, now = self._index.late, self._clock()
        while late:
            call_id, lesson = late.popleft()
            broken = None if self.linter is None else self.linter.check_late(call_id, lesson, now)
            if broken is not None:
                self._metrics.breaks.add(broken)
                self._audit.prefix_broken(call_id, broken)

    def failed(self, turn: Turn | None, outcome: Outcome) -> None:
        """Record an attempt after which another replica is tried."""
        if self._programs is not None and turn is not None:
            self._programs.retried(turn, outcome)
        self._index.forget_call(outcome.call_id)
        if self._siblings is not None:
            self._siblings.settled(outcome.call_id, outcome.placement.replica, None, None, is_lesson=False)
        self._metrics.attempt_failed(outcome)
        self._audit.attempt_failed(outcome)

    def settle(self, request: Request, turn: Turn | None, outcome: Outcome, lease: Lease) -> None:
        """Record the last attempt of a call, which held `lease`."""
        self.num_steps += 1
        usage, answer = outcome.usage, outcome.answer
        lesson, finding = "untaught", None
        broken: Break | None = None
        trace_id: bytes | None = None
        is_lesson = request.chain is not None and outcome.is_complete and outcome.status == 200
        if is_lesson:
            learned = self._index.settle(
                request.call_id,
                request.chain,
                outcome.placement.replica,
                Report.of(usage, answer),
                self._clock(),
            )
            finding = learned.finding
            if learned.has_restarted:
                self._audit.restarted_silently(outcome)
            if learned.is_contradiction:
                lesson = "contradicted"
            elif learned.is_taught:
                lesson = "taught"
            elif learned.is_pending:
                lesson = "pending"
            if self.linter is not None:
                broken = self.linter.check(request, outcome.ended_at, usage, learned)
                if broken is not None:
                    self._metrics.breaks.add(broken)
                    self._audit.prefix_broken(outcome.call_id, broken, outcome.request_id)
                if self._index.late:
                    self.check_late()
        else:
            self._index.forget_call(request.call_id)
        if self._siblings is not None:
            self._siblings.settled(request.call_id, outcome.placement.replica, usage, answer, is_lesson=is_lesson)
        if self._programs is not None and turn is not None:
            num_waiting = self._programs.ended(turn, outcome)
            if not self._tells_later or num_waiting >= RECORDED_AT_ONCE or not num_waiting:
                self.tell_calls()
            trace_id = turn.key.trace_id if turn.key.is_sampled else None
        self._fleet.learn(outcome, lease)
        self._metrics.calls.add(outcome, trace_id)
        self._audit.call_ended(outcome, lesson, finding, broken)

    def _forget_first(self, programs: Programs) -> None:
        """Let the index forget what nobody will go on from before anything else."""
        for retired in programs.take_retired():
            self._index.retire(retired.digests, retired.kept)


def _reason(error: BaseException) -> Reason:
    """Why a call was not served."""
    if isinstance(error, TurnwiseError):
        return error.reason
    return Reason.CLIENT_GONE if isinstance(error, asyncio.CancelledError) else Reason.BUG
