"""What proxies tell, and the agents' claims on it: each message is taken in at once, and none is answered."""

from __future__ import annotations

import asyncio
from typing import Any

from turnwise.tools_gateway.messages import Announced, Filled, Settled, Void, Voided
from turnwise.tools_gateway.runs.early import Early
from turnwise.tools_gateway.runs.flights import Flights
from turnwise.tools_gateway.runs.rooms import Rooms
from turnwise.tools_gateway.runs.run import Run
from turnwise.tools_gateway.runs.telling import Teller
from turnwise.tools_gateway.runs.tenants import ProxyTenants
from turnwise.tools_gateway.runs.turns import MAX_OPEN_S, Announcement, Turn, Turns
from turnwise.tools_gateway.runs.values import CallKey, make_call
from turnwise.tools_gateway.values import AnnouncementEnd, JsonObject, ToolFault, ToolState

VERDICT_S = 2.0
"""Longest wait of an agent for nothing but the end of its turn: that is on its way through the proxy's socket while the client
acts on the same end, so more than a moment means that the announcement is a sibling's, or that its proxy is in trouble."""


class Announcements:
    """The tool calls that models write, from the first word of each to its agent's claim."""

    def __init__(self, rooms: Rooms, tenants: ProxyTenants, flights: Flights, *, early: Early, teller: Teller) -> None:
        self._rooms = rooms
        self._tenants = tenants
        self._flights = flights
        self._early = early
        self._teller = teller
        self._turns = Turns()

    @property
    def num_turns(self) -> int:
        """Turns of which something is kept."""
        return len(self._turns)

    def announced(self, source: object, told: Announced) -> None:
        """Note a call, and prepare what it needs."""
        principal = self._tenants.principal(told.tenant)
        if principal is None:
            return
        known = self._turns.find(source, told.turn, told.index)
        if known is not None:
            if (known.told.tool, known.told.id) != (told.tool, told.id):
                self._void(known, Void.DRIFT)
            return
        crowded_out = self._turns.crowded_out(source, told)
        if crowded_out is not None:
            self._end(crowded_out, Void.EXPIRED)
        announcement = self._turns.announce(source, told, principal, self._rooms.clock())
        tool = self._rooms.registry.resolve(told.tool, principal)
        if tool is None or tool.state is not ToolState.READY:
            return
        if announcement is None:
            self._rooms.meter.announcement_ended(AnnouncementEnd.DROPPED)
            return
        announcement.tool = tool
        announcement.credential = self._rooms.registry.credential(tool.key.upstream, principal)
        self._rooms.upstreams.prepare(announcement.credential)
        self._teller.announced(announcement)

    def filled(self, source: object, told: Filled) -> None:
        """Make a call claimable, and begin it where it may run early."""
        announcement = self._turns.find(source, told.turn, told.index)
        if announcement is None or announcement.is_void or announcement.tool is None or announcement.credential is None:
            return
        # A model may write for minutes: the tool may have changed, or been closed, since it began.
        tool = self._rooms.registry.resolve(announcement.told.tool, announcement.principal)
        if tool is None or tool.state is not ToolState.READY or tool.key != announcement.tool.key:
            self._void(announcement, Void.EXPIRED)
            return
        announcement.tool = tool
        try:
            arguments = self._rooms.guard.arguments(tool, bytes(told.arguments))
        except ToolFault:
            # The agent that asks for it is told why.
            self._void(announcement, Void.MALFORMED)
            return
        traceparent = announcement.told.traceparent
        meta: JsonObject = {"traceparent": traceparent} if traceparent else {}
        call = make_call(announcement.principal, tool, announcement.credential, arguments, meta)
        if announcement.key is not None:
            if announcement.key != call.key:
                self._void(announcement, Void.DRIFT)
            return
        self._turns.fill(announcement, call.key)
        # An agent may be quicker than its proxy's message.
        run = self._flights.unannounced(call.key, announcement.told.at)
        if run is None:
            self._early.consider(announcement, call)
            return
        run.is_attributed = True
        self._turns.claim(announcement, run.queued_at)
        self._rooms.meter.announcement_ended(AnnouncementEnd.CLAIMED)
        self._teller.follow(announcement, run)

    def voided(self, source: object, told: Voided) -> None:
        """Give up one call."""
        announcement = self._turns.find(source, told.turn, told.index)
        if announcement is not None:
            self._void(announcement, told.why)

    def settled(self, source: object, told: Settled) -> None:
        """Let the results of a clean turn be claimed, or give all of it up."""
        turn = self._turns.find_turn(source, told.turn)
        if turn is None:
            return
        if told.why is not None:
            self._end(turn, told.why)
            return
        turn.settled_at = self._rooms.clock()
        for announcement in turn.announcements.values():
            if announcement.run is not None:
                announcement.run.trust()
            elif not announcement.is_open:
                announcement.record = ""
            _pronounce(announcement)
        self._end_if_done(turn)

    def disconnected(self, source: object) -> None:
        """Give up what a proxy has not settled."""
        for turn in self._turns.of(source):
            if turn.settled_at is None:
                self._end(turn, Void.DISCONNECTED)

    def take(self, key: CallKey) -> Announcement | None:
        """Give an agent's call its announcement, which nobody else gets then; None where it has none."""
        announcement = self._turns.take(key, self._rooms.clock())
        if announcement is not None:
            if announcement.run is not None:
                self._early.claimed(announcement)
            else:
                self._rooms.meter.announcement_ended(AnnouncementEnd.CLAIMED)
            self._end_if_done(announcement.turn)
        return announcement

    async def is_good(self, announcement: Announcement) -> bool:
        """Wait until the turn of a claimed call has ended; says whether it ended well, so that its result may be given out.

        While its run goes on, that costs the agent nothing; an agent whose turn does not end while announcements live gets a
        run of its own. One that has waited `VERDICT_S` for nothing but the turn gives the announcement back: it must be a
        sibling's, whose agent will ask for it.
        """
        assert announcement.run is not None
        is_given_back = False
        try:
            if not announcement.is_void and announcement.turn.settled_at is None:
                announcement.verdict = asyncio.get_running_loop().create_future()
                is_given_back = await self._has_no_verdict(announcement, announcement.run)
        finally:
            announcement.verdict = None
            if is_given_back:
                self._turns.give_back(announcement)
                self._early.given_back(announcement)
            else:
                self._rooms.meter.announcement_ended(AnnouncementEnd.CLAIMED)
        return not announcement.is_void and not is_given_back

    async def _has_no_verdict(self, announcement: Announcement, run: Run) -> bool:
        """Wait for the verdict; True where none came although the run is over."""
        assert announcement.verdict is not None
        verdict = announcement.verdict
        ttl_s = self._rooms.limits.claim_ttl_s
        either: set[asyncio.Future[Any]] = {verdict, run.outcome}
        await asyncio.wait(either, timeout=ttl_s, return_when=asyncio.FIRST_COMPLETED)
        if not verdict.done() and not run.is_over:
            self._void(announcement, Void.EXPIRED)
        if not verdict.done():
            await asyncio.wait({verdict}, timeout=min(VERDICT_S, ttl_s))
        return not verdict.done()

    def expire(self) -> None:
        """Give up what nobody has asked for in time: the time runs from the end of the turn.

        A result that has waited as long for that end is given up too, for it grows stale.
        """
        now, ttl_s = self._rooms.clock(), self._rooms.limits.claim_ttl_s
        for turn in self._turns:
            if now >= (turn.opened_at + MAX_OPEN_S if turn.settled_at is None else turn.settled_at + ttl_s):
                self._end(turn, Void.EXPIRED)
                continue
            for announcement in turn.announcements.values() if turn.settled_at is None else ():
                run = announcement.run
                if announcement.is_open and run is not None and run.ended_at is not None and now >= run.ended_at + ttl_s:
                    self._void(announcement, Void.EXPIRED)

    def close(self) -> None:
        """Give up everything."""
        for turn in self._turns:
            self._end(turn, Void.DISCONNECTED)

    def _end(self, turn: Turn, why: Void) -> None:
        for announcement in turn.announcements.values():
            self._void(announcement, why)
        self._turns.end(turn)

    def _end_if_done(self, turn: Turn) -> None:
        """Keep no turn of which no agent will take anything more."""
        if turn.settled_at is not None and not any(
            each.is_open and each.tool is not None for each in turn.announcements.values()
        ):
            self._turns.end(turn)

    def _void(self, announcement: Announcement, why: Void) -> None:
        """Nothing of it is given out, unless it is an agent's: claimed, and its turn ended well or its run is the agent's."""
        is_claimed = announcement.claimed_at is not None
        if announcement.is_void or (is_claimed and (announcement.turn.settled_at is not None or not announcement.record)):
            return
        self._turns.withdraw(announcement)
        self._early.void(announcement, why)
        if announcement.tool is not None and not is_claimed:
            self._rooms.meter.announcement_ended(_ENDS.get(why, AnnouncementEnd.VOID))
        self._teller.void(announcement, why)
        _pronounce(announcement)


_ENDS = {Void.EXPIRED: AnnouncementEnd.EXPIRED, Void.MALFORMED: AnnouncementEnd.DROPPED}
"""Of announcements; by every other reason they are void."""


def _pronounce(announcement: Announcement) -> None:
    if announcement.verdict is not None and not announcement.verdict.done():
        announcement.verdict.set_result(None)
