"""The calls of agents: each is served by the run that its proxy saw coming, by an equal call's, or by one of its own."""

from __future__ import annotations

import asyncio
from difflib import get_close_matches
from typing import NoReturn

from turnwise.tools_gateway.messages import How
from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.runs.announcements import Announcements
from turnwise.tools_gateway.runs.early import Early
from turnwise.tools_gateway.runs.flights import Flights
from turnwise.tools_gateway.runs.memory import Memory
from turnwise.tools_gateway.runs.rooms import Rooms
from turnwise.tools_gateway.runs.run import Run
from turnwise.tools_gateway.runs.stats import Counts
from turnwise.tools_gateway.runs.telling import Teller
from turnwise.tools_gateway.runs.turns import Announcement
from turnwise.tools_gateway.runs.values import Outcome, ToolCall, make_call
from turnwise.tools_gateway.values import Caller, Fate, Fault, JsonObject, Principal, Tool, ToolFault, ToolState

JOINED = "joined"
"""How the audit calls an agent's call that takes an early run, which has a record of its own."""

MAX_NAME = 128
"""Longest name for which another is proposed (MCP's own bound)."""


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
        counts: Counts,
    ) -> None:
        self._rooms = rooms
        self._flights = flights
        self._memory = memory
        self._announcements = announcements
        self._early = early
        self._teller = teller
        self._counts = counts

    async def call(
        self,
        principal: Principal,
        name: str,
        arguments: JsonObject,
        meta: JsonObject,
        notify: Notify | None = None,
        answer: Answer | None = None,
        caller: Caller = Caller(),  # noqa: B008 - it is frozen
    ) -> JsonObject:
        """Give the result of one call; raises `ToolFault`."""
        tool = self._admit(principal, name, arguments)
        credential = self._rooms.registry.credential(tool.key.upstream, principal)
        call = make_call(principal, tool, credential, arguments, meta, caller)
        if caller.goes_on:
            return (await self._run(call, None, notify, answer, may_share=False)).give()
        announcement = self._announcements.take(call.key)
        if announcement is not None and announcement.run is not None:
            outcome = await self._join(call, announcement, announcement.run, notify)
            if outcome is not None:
                return outcome.give()
            if announcement.is_void:
                announcement = None
        remembered = self._memory.get(call.key, self._rooms.clock()) if tool.marks.ttl_s else None
        if remembered is not None:
            return self._remind(call, announcement, remembered)
        return (await self._run(call, announcement, notify, answer, may_share=tool.marks.is_shared)).give()

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
        self._counts.faults[fault.fault] += 1
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
            message = f"{call.tool.name} was not called: the audit of the tools gateway cannot be written."
            self._refuse(call.principal, call.tool.name, ToolFault(Fault.AUDIT, message), turn)
        return record

    async def _join(self, call: ToolCall, announcement: Announcement, run: Run, notify: Notify | None) -> Outcome | None:
        """Wait for an early run and for its turn; None where the agent's call needs a run of its own."""
        run.hold(notify)
        record, outcome = "", None
        try:
            record = self._decide(call, JOINED, announcement)
            if await self._announcements.is_good(announcement):
                outcome = await asyncio.shield(run.outcome)
                self._early.give_out(announcement)
        except asyncio.CancelledError:
            self._close(call, record, How.EARLY, _CANCELLED, run)
            raise
        finally:
            run.let_go(notify)
            if outcome is None and not announcement.is_void:
                self._early.abandon(announcement)
        if outcome is None or outcome.is_personal or outcome.is_passing:
            self._end(record, _CANCELLED)
            return None
        self._close(call, record, How.EARLY, outcome, run)
        return outcome

    def _remind(self, call: ToolCall, announcement: Announcement | None, result: JsonObject) -> JsonObject:
        """Serve a call with the result of an equal one."""
        record = self._decide(call, How.REMEMBERED, announcement)
        outcome = Outcome(Fate.SUCCESS, 0.0, result)
        if announcement is not None:
            self._teller.remembered(announcement)
        self._end(record, outcome)
        self._counts.call_ended(call.tool.key.upstream, How.REMEMBERED, outcome)
        return result

    async def _run(
        self,
        call: ToolCall,
        announcement: Announcement | None,
        notify: Notify | None,
        answer: Answer | None,
        *,
        may_share: bool,
    ) -> Outcome:
        """Serve a call with a run of its own, or with an equal call's that is under way."""
        run = self._flights.find(call.key) if may_share else None
        how = How.ASKED if run is None else How.SHARED
        record = self._decide(call, how, announcement)
        if run is None:
            run = self._flights.begin(call, is_early=False, answer=answer)
        run.hold(notify)
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
            self._close(call, record, how, _CANCELLED, run)
            raise
        finally:
            run.let_go(notify)
        if how is How.SHARED and outcome.is_personal:
            self._end(record, _CANCELLED)
            return await self._run(call, announcement, notify, answer, may_share=False)
        self._close(call, record, how, outcome, run)
        return outcome

    def _close(self, call: ToolCall, record: str, how: How, outcome: Outcome, run: Run) -> None:
        """Write what came of a call, count it, and remember what may serve others."""
        self._end(record, outcome)
        self._counts.call_ended(call.tool.key.upstream, how, outcome)
        marks = call.tool.marks
        is_lasting = outcome.fate is Fate.SUCCESS and not outcome.asks_for_input and not call.caller.goes_on
        if marks.ttl_s and is_lasting and outcome.result is not None and run.ended_at is not None:
            self._memory.put(call.key, outcome.result, run.ended_at + marks.ttl_s)

    def _end(self, record: str, outcome: Outcome) -> None:
        if record:
            fault = outcome.fault.fault if outcome.fault is not None else None
            self._rooms.audit.ended(record, outcome.fate, fault, outcome.seconds, outcome.result)


_CANCELLED = Outcome(Fate.CANCELLED, 0.0, fault=ToolFault(Fault.CANCELLED, "The call was cancelled."))
"""Of a wait that came to nothing: the caller has gone, or is served otherwise."""
