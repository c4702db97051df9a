"""Early runs: begun before an agent asks, held until their turn has ended well, and otherwise void."""

from __future__ import annotations

from turnwise.tools_gateway.messages import How, Step, Void
from turnwise.tools_gateway.runs.budget import Budget
from turnwise.tools_gateway.runs.flights import Flights
from turnwise.tools_gateway.runs.memory import Memory, weight
from turnwise.tools_gateway.runs.rooms import Rooms
from turnwise.tools_gateway.runs.rule import NotEarly, why_not_early
from turnwise.tools_gateway.runs.run import Run
from turnwise.tools_gateway.runs.telling import Teller
from turnwise.tools_gateway.runs.turns import Announcement
from turnwise.tools_gateway.runs.values import ToolCall
from turnwise.tools_gateway.values import Fate, Fault

FAULT_BYTES = 256
"""What a fault is taken to weigh while it waits for its agent."""


class Early:
    """Begins, holds, gives out and voids them; synchronous."""

    def __init__(self, rooms: Rooms, flights: Flights, memory: Memory, *, budget: Budget, teller: Teller) -> None:
        self._rooms = rooms
        self._flights = flights
        self._memory = memory
        self._budget = budget
        self._teller = teller

    def consider(self, announcement: Announcement, call: ToolCall) -> None:
        """Begin a run of a call whose arguments have closed and hold, if it may run early."""
        why = self._begin(announcement, call)
        if why is not None:
            self._rooms.meter.not_early(call.tool, why)

    def claimed(self, announcement: Announcement) -> None:
        """An agent has asked for it: it no longer counts as early, and its result waits for nobody."""
        run = announcement.run
        assert run is not None
        self._settle_budget(announcement)
        run.claim()
        self._teller.run_told(announcement, run, run.step)

    def given_back(self, announcement: Announcement) -> None:
        """The agent that had claimed it leaves its result to another."""
        run = announcement.run
        if run is not None:
            self._hold(announcement, run)
            self._teller.run_told(announcement, run, run.step)

    def give_out(self, announcement: Announcement) -> None:
        """Its outcome goes to the agent that claimed it, or is of no use to it; either way it is nobody's any more."""
        run = announcement.run
        if run is not None:
            announcement.run = None
            run.let_go()
        announcement.record = ""

    def abandon(self, announcement: Announcement) -> None:
        """The agent that claimed it has gone; its turn may still turn out void, which is written down."""
        run, announcement.run = announcement.run, None
        if run is not None:
            self._write_end(announcement, run)
            run.let_go()

    def void(self, announcement: Announcement, why: Void) -> None:
        """Cancel what it began and has not given out, and write that down."""
        run, announcement.run = announcement.run, None
        self._settle_budget(announcement)
        if run is not None:
            announcement.unfollow()
            self._write_end(announcement, run)
            run.let_go()
            run.distrust()
        if announcement.record:
            assert announcement.tool is not None
            self._rooms.meter.early_ended(announcement.tool, None if why is Void.EXPIRED else why)
            self._rooms.audit.voided(announcement.record, why)
            announcement.record = ""

    def _begin(self, announcement: Announcement, call: ToolCall) -> NotEarly | None:
        tool = call.tool
        why = why_not_early(announcement, tool, call.arguments)
        if why is not None:
            return why
        if tool.marks.ttl_s and self._memory.get(call.key, self._rooms.clock()) is not None:
            return NotEarly.REMEMBERED
        tenant = call.principal.tenant
        rooms = self._rooms
        max_running = rooms.max_running.get(call.credential.upstream, tool.marks.max_running)
        if min(max_running, tool.marks.max_running, rooms.limits.max_tenant_running) < 2:
            return NotEarly.SLOTS
        if not self._budget.has_room(tenant):
            return NotEarly.BUDGET
        run = self._flights.find(call.key) if tool.marks.is_shared else None
        how = How.EARLY if run is None else How.SHARED
        record = self._rooms.audit.decided(tool, call.principal, call.arguments, how=how, turn=announcement.turn.id)
        if not record:
            # A run that nobody asked for and of which nothing is written would be nobody's.
            return NotEarly.AUDIT
        self._budget.begin(tenant)
        announcement.is_budgeted = True
        announcement.how = how
        announcement.record = record
        announcement.run = run = run or self._flights.begin(call, is_early=True)
        run.hold()
        announcement.follow(run, lambda run, step: self._told(announcement, run, step))
        self._teller.run_told(announcement, run, run.step)
        return None

    def _told(self, announcement: Announcement, run: Run, step: Step) -> None:
        if step is Step.FINISHED:
            self._over(announcement, run)
        self._teller.run_told(announcement, run, step)

    def _over(self, announcement: Announcement, run: Run) -> None:
        self._write_end(announcement, run)
        self._settle_budget(announcement)
        if announcement.run is not None and announcement.is_open:
            self._hold(announcement, run)

    def _hold(self, announcement: Announcement, run: Run) -> None:
        """Keep what a run came to for the agent that will ask, where that is of use and there is room."""
        outcome = run.outcome.result()
        num_bytes = weight(outcome.result) if outcome.result is not None else FAULT_BYTES
        tenant = announcement.principal.tenant
        if outcome.is_personal or outcome.is_passing or not self._budget.hold(tenant, num_bytes):
            # An agent that asks fares better with a run of its own; the record tells of the turn's end all the same.
            announcement.run = None
            announcement.how = How.ASKED
            run.let_go()
        else:
            announcement.held_bytes = num_bytes

    def _write_end(self, announcement: Announcement, run: Run) -> None:
        """Write what came of an early run, once; one that goes on is cancelled as far as its announcement goes."""
        if announcement.has_ended:
            return
        announcement.has_ended = True
        if run.is_over:
            outcome = run.outcome.result()
            fault = outcome.fault.fault if outcome.fault is not None else None
            self._rooms.audit.ended(announcement.record, outcome.fate, fault, outcome.seconds, outcome.result)
        else:
            self._rooms.audit.ended(announcement.record, Fate.CANCELLED, Fault.CANCELLED, run.seconds, None)

    def _settle_budget(self, announcement: Announcement) -> None:
        tenant = announcement.principal.tenant
        if announcement.is_budgeted:
            announcement.is_budgeted = False
            self._budget.end(tenant)
        if announcement.held_bytes:
            self._budget.release(tenant, announcement.held_bytes)
            announcement.held_bytes = 0
