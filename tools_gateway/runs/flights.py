"""The runs that are under way, by what they run; the owner of their tasks."""

from __future__ import annotations

import asyncio

from turnwise.tools_gateway.ports import Answer
from turnwise.tools_gateway.runs.rooms import Rooms
from turnwise.tools_gateway.runs.run import Run
from turnwise.tools_gateway.runs.values import CallKey, ToolCall


class Flights:
    """Begins runs, finds them, and ends them with the gateway."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._runs: dict[CallKey, list[Run]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def begin(self, call: ToolCall, *, is_early: bool, answer: Answer | None = None) -> Run:
        """Begin a run; whoever wants its outcome holds it before the loop turns."""
        run = Run(call, self._rooms, is_early=is_early, answer=answer)
        self._runs.setdefault(call.key, []).append(run)
        self._tasks.add(run.task)
        run.task.add_done_callback(lambda task: self._forget(run, task))
        if self._is_closed:
            run.task.cancel()
        return run

    def find(self, key: CallKey) -> Run | None:
        """A run that may serve an equal call of a shared tool; None where there is none."""
        return next(
            (run for run in self._runs.get(key, ()) if run.is_wanted and not run.may_ask and not run.call.caller.goes_on),
            None,
        )

    def unannounced(self, key: CallKey, since: float) -> Run | None:
        """A run that an agent asked for after `since` and that no announcement was matched with; None where there is none."""
        return next(
            (
                run
                for run in self._runs.get(key, ())
                if run.is_wanted and not run.is_attributed and run.queued_at >= since and not run.call.caller.goes_on
            ),
            None,
        )

    async def aclose(self) -> None:
        """Cancel everything and wait until it has ended; what is begun later ends at once."""
        self._is_closed = True
        for task in tuple(self._tasks):
            task.cancel()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _forget(self, run: Run, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        known = self._runs[run.call.key]
        known.remove(run)
        if not known:
            del self._runs[run.call.key]
