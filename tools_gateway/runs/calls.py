"""The calls of agents: each is served by the run that its proxy saw coming, by an equal call's, or by one of its own."""

from __future__ import annotations

import asyncio
from difflib import get_close_matches
from typing import NoReturn

import msgspec

from turnwise.tools_gateway.messages import How
from turnwise.tools_gateway.ports import AgentCall, Answer
from turnwise.tools_gateway.runs.announcements import Announcements
from turnwise.tools_gateway.runs.early import Early
from turnwise.tools_gateway.runs.flights import Flights
from turnwise.tools_gateway.runs.hearers import Hearer
from turnwise.tools_gateway.runs.memory import Memory, Remembered
from turnwise.tools_gateway.runs.rooms import Rooms
from turnwise.tools_gateway.runs.run import Run
from turnwise.tools_gateway.runs.telling import Teller
from turnwise.tools_gateway.runs.turns import Announcement
from turnwise.tools_gateway.runs.values import Outcome, ToolCall, make_call
from turnwise.tools_gateway.values import (
    MAX_NAME,
    Called,
    Fate,
    Fault,
    JsonObject,
    Principal,
    Tool,
    ToolFault,
    ToolState,
)

JOINED = "joined"
"""How the audit calls an agent's call that takes an early run, which has a record of its own."""


class Calls:
    """Serves agents; every call has one record in the audit before and one after, whatever serves it."""

    def __init__(
        self,
        rooms: Rooms,
        flights: Flights,
        memory: Memory,
        *,
        announcements: Announcements,
        early: Early,
        teller: Teller,
    ) -> None:
        self._rooms = rooms
        self._flights = flights
        self._memory = memory
        self._announcements = announcements
        self._early = early
        self._teller = teller

    async def call(self, asked: AgentCall) -> JsonObject:
        """Give the result of one call; raises `ToolFault`."""
        principal, meta, answer, caller = asked.principal, asked.meta, asked.answer, asked.caller
        tool = self._admit(principal, asked.name, asked.arguments)
        credential = self._rooms.registry.credential(tool.key.upstream, principal)
        call = make_call(principal, tool, credential, asked.arguments, meta, caller)
        hearer = Hearer(asked.notify, meta) if asked.notify is not None else None
        if caller.goes_on:
            return (await self._run(call, None, hearer, answer, may_share=False)).give()
        announcement = self._announcements.take(call.key)
        as_asked = call
        traceparent = announcement.told.traceparent if announcement is not None else ""
        if traceparent and "traceparent" not in meta:
            call = msgspec.structs.replace(call, meta={**meta, "traceparent": traceparent})
        if announcement is not None and announcement.run is not None:
            outcome = await self._join(call, announcement, announcement.run, hearer)
            if outcome is not None:
                return outcome.give()
            if announcement.is_open:
                # It is a sibling's, and so is its trace.
                announcement, call = None, as_asked
            elif announcement.is_void:
                announcement = None
        remembered = self._memory.get(call.key, self._rooms.clock()) if tool.marks.ttl_s else None
        if remembered is not None:
            return self._remind(call, announcement, remembered)
        # What comes of a call whose client can be asked may be that client's alone, and it would wait for others to find out.
        may_share = tool.marks.is_shared and not (answer is not None and caller.capabilities)
        return (await self._run(call, announcement, hearer, answer, may_share=may_share)).give()

    def _admit(self, principal: Principal, name: str, arguments: JsonObject) -> Tool:
        tool = self._rooms.registry.resolve(name, principal)
        if tool is None:
            self._refuse(principal, name, ToolFault(Fault.UNKNOWN_TOOL, self._unknown(principal, name)))
        if tool.state is not ToolState.READY:
            why = f": {tool.why}" if tool.why else ""
            self._refuse(
                principal, tool.name, ToolFault(Fault.NOT_ALLOWED, f"{tool.name} may not be called ({tool.state}{why}).")
            )
        try:
            self._rooms.guard.check(tool, arguments)
        except ToolFault as fault:
            self._refuse(principal, tool.name, fault)
        return tool

    def _refuse(self, principal: Principal, name: str, fault: ToolFault, turn: str = "") -> NoReturn:
        self._rooms.meter.refused(fault.fault)
        self._rooms.audit.refused(name, principal, fault.fault, turn=turn)
        raise fault

    def _unknown(self, principal: Principal, name: str) -> str:
        if len(name) > MAX_NAME:
            return f"There is no tool of this name, which has {len(name)} characters."
        offered = [tool.name for tool in self._rooms.registry.tools(principal)]
        near = get_close_matches(name, offered, n=3)
        return f"There is no tool {name!r}." + (f" Did you mean {' or '.join(near)}?" if near else "")

    def _decide(self, call: ToolCall, how: str, announcement: Announcement | None) -> str:
        """Write that a call is about to be made; raises `ToolFault` where that must be written and cannot be."""
        turn = announcement.turn.id if announcement is not None else ""
        record = self._rooms.audit.decided(call.tool, call.principal, call.arguments, how=how, turn=turn)
        if not record and not call.tool.marks.is_read_only:
            if announcement is not None:
                self._teller.refused(announcement)
            message = f"{call.tool.name} was not called: the audit of the tools gateway cannot be written."
            self._refuse(call.principal, call.tool.name, ToolFault(Fault.AUDIT, message), turn)
        return record

    async def _join(self, call: ToolCall, announcement: Announcement, run: Run, hearer: Hearer | None) -> Outcome | None:
        """Wait for an early run and for its turn; None where the agent's call needs a run of its own."""
        asked_at = self._rooms.clock()
        run.hold(hearer)
        record, outcome = "", None
        try:
            record = self._decide(call, JOINED, announcement)
            if await self._announcements.is_good(announcement):
                outcome = await asyncio.shield(run.outcome)
                self._early.give_out(announcement)
        except asyncio.CancelledError:
            self._close(call, record, How.EARLY, _cut_off(run), run, asked_at)
            raise
        finally:
            run.let_go(hearer)
            if outcome is None and not announcement.is_void and not announcement.is_open:
                self._early.abandon(announcement)
        if outcome is None or outcome.is_personal or outcome.is_passing:
            self._end(record, _cut_off(run))
            return None
        self._close(call, record, How.EARLY, outcome, run, asked_at)
        return outcome

    def _remind(self, call: ToolCall, announcement: Announcement | None, remembered: Remembered) -> JsonObject:
        """Serve a call with the result of an equal one."""
        record = self._decide(call, How.REMEMBERED, announcement)
        if announcement is not None:
            self._teller.remembered(announcement)
        self._end(record, Outcome(Fate.SUCCESS, 0.0, remembered.result))
        self._rooms.meter.called(call.tool, Called(How.REMEMBERED, Fate.SUCCESS, saved_s=remembered.seconds))
        return remembered.result

    async def _run(
        self,
        call: ToolCall,
        announcement: Announcement | None,
        hearer: Hearer | None,
        answer: Answer | None,
        *,
        may_share: bool,
    ) -> Outcome:
        """Serve a call with a run of its own, or with an equal call's that is under way."""
        asked_at = self._rooms.clock()
        run = self._flights.find(call.key) if may_share else None
        how = How.ASKED if run is None else How.SHARED
        record = self._decide(call, how, announcement)
        if run is None:
            run = self._flights.begin(call, is_early=False, answer=answer)
        run.hold(hearer)
        # It may be an early run of another turn: this call stands behind it now, whatever becomes of that turn.
        run.claim()
        run.trust()
        if announcement is not None:
            run.is_attributed = True
            announcement.how = how
            self._teller.follow(announcement, run)
        try:
            outcome = await asyncio.shield(run.outcome)
        except asyncio.CancelledError:
            self._close(call, record, how, _cut_off(run), run, asked_at)
            raise
        finally:
            run.let_go(hearer)
        if how is How.SHARED and outcome.is_personal:
            self._end(record, _cut_off(run))
            return await self._run(call, announcement, hearer, answer, may_share=False)
        self._close(call, record, how, outcome, run, asked_at)
        return outcome

    def _close(self, call: ToolCall, record: str, how: How, outcome: Outcome, run: Run, asked_at: float) -> None:
        """Write what came of a call, count it, and remember what may serve others."""
        self._end(record, outcome)
        self._rooms.meter.called(call.tool, _called(how, outcome, run, self._rooms.clock() - asked_at))
        marks = call.tool.marks
        is_lasting = outcome.fate is Fate.SUCCESS and not outcome.is_personal and not call.caller.goes_on
        if marks.ttl_s and is_lasting and outcome.result is not None and run.ended_at is not None:
            self._memory.put(call.key, outcome.result, outcome.seconds, run.ended_at + marks.ttl_s)

    def _end(self, record: str, outcome: Outcome) -> None:
        if record:
            fault = outcome.fault.fault if outcome.fault is not None else None
            self._rooms.audit.ended(record, outcome.fate, fault, outcome.seconds, outcome.result)


def _called(how: How, outcome: Outcome, run: Run, waited_s: float) -> Called:
    """What metrics are told of a call that waited `waited_s` for a run; its times belong to the call it was begun for."""
    fault = outcome.fault.fault if outcome.fault is not None else None
    whole_s = run.ended_at - run.queued_at if run.ended_at is not None else 0.0
    saved_s = max(0.0, whole_s - waited_s) if how is not How.ASKED and outcome.result is not None else 0.0
    if how is How.SHARED:
        return Called(how, outcome.fate, fault, saved_s=saved_s)
    queued_s = run.started_at - run.queued_at if run.started_at is not None else None
    run_s = outcome.seconds if run.was_asked else None
    return Called(how, outcome.fate, fault, queued_s, run_s, run.forecast, saved_s)


def _cut_off(run: Run) -> Outcome:
    """Of a wait for a run that came to nothing: the caller has gone, or is served otherwise."""
    return Outcome(Fate.CANCELLED, run.seconds, fault=ToolFault(Fault.CANCELLED, "The call was cancelled."))
