"""Slots and queues, decided at once: whoever enters runs or waits, and whoever leaves lets others begin."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from turnwise.tools_gateway.schedule.order import rank
from turnwise.tools_gateway.values import Credential, Fault, Load, ToolFault, ToolKey

Key = TypeVar("Key", str, ToolKey)


class Ticket:
    """One run's claim to a slot; `rank` orders those that wait."""

    __slots__ = ("credential", "has_waited", "is_early", "max_running", "max_tool_running", "rank", "tenant", "tool")

    def __init__(
        self,
        credential: Credential,
        tool: ToolKey,
        tenant: str,
        *,
        max_running: int,
        max_tool_running: int,
        entered_at: float,
        expected_s: float,
        is_early: bool = False,
    ) -> None:
        self.credential = credential
        self.tool = tool
        self.tenant = tenant
        self.max_running = max_running
        """Of all runs on this credential."""
        self.max_tool_running = max_tool_running
        """Of runs of this tool on this credential."""
        self.rank = rank(entered_at, expected_s)
        self.is_early = is_early
        """Whether nobody has asked for it yet: it waits behind those who asked and leaves them one slot of everything."""
        self.has_waited = False


class _Lane:
    """Everything on one credential of one upstream: no other sees its slots or its queue."""

    __slots__ = ("num_running", "tools", "waiting")

    def __init__(self) -> None:
        self.num_running = 0
        self.tools: Counter[ToolKey] = Counter()
        self.waiting: list[Ticket] = []


class Schedule:
    """The slots of all credentials and tenants."""

    def __init__(self, *, max_queued: int, max_tenant_running: int) -> None:
        self._max_queued = max_queued
        self._max_tenant_running = max_tenant_running
        self._lanes: dict[Credential, _Lane] = {}
        self._tenants: Counter[str] = Counter()

    def enter(self, ticket: Ticket) -> bool:
        """Take a slot, or a place in the queue; says whether it runs. Raises `ToolFault` where the queue is full.

        Early runs fill no place that an asked one could have: only those who asked count against a caller who asks.
        """
        lane = self._lanes.setdefault(ticket.credential, _Lane())
        if self._may_run(lane, ticket):
            self._start(lane, ticket)
            return True
        in_front = sum(1 for other in lane.waiting if ticket.is_early or not other.is_early)
        if in_front >= self._max_queued:
            self._forget(ticket.credential, lane)
            raise ToolFault(Fault.QUEUE_FULL, f"Too many calls wait for {ticket.credential.upstream} already. Try again later.")
        ticket.has_waited = True
        insort(lane.waiting, ticket, key=_place)
        return False

    def leave(self, ticket: Ticket) -> list[Ticket]:
        """Give back a slot, or a place in the queue; returns those who run now."""
        lane = self._lanes[ticket.credential]
        if ticket in lane.waiting:
            lane.waiting.remove(ticket)
            self._forget(ticket.credential, lane)
            return []
        # Early runs stop one slot short of the tenant's bound, so another lane may go on from there already.
        was_full = self._tenants[ticket.tenant] >= self._max_tenant_running - 1
        _take_one(self._tenants, ticket.tenant)
        _take_one(lane.tools, ticket.tool)
        lane.num_running -= 1
        lanes = list(self._lanes.values()) if was_full else [lane]
        started = [each for some in lanes for each in self._fill(some)]
        self._forget(ticket.credential, lane)
        return started

    def promote(self, ticket: Ticket) -> list[Ticket]:
        """Somebody has asked for an early run: it waits among those who asked from now on; returns those who run now."""
        if not ticket.is_early:
            return []
        lane = self._lanes.get(ticket.credential)
        is_waiting = lane is not None and ticket in lane.waiting
        if lane is None or not is_waiting:
            ticket.is_early = False
            return []
        lane.waiting.remove(ticket)
        ticket.is_early = False
        insort(lane.waiting, ticket, key=_place)
        return self._fill(lane)

    def loads(self) -> Mapping[ToolKey, Load]:
        """How many runs of each tool have a slot or wait for one, of tools that have any."""
        running: Counter[ToolKey] = Counter()
        queued: Counter[ToolKey] = Counter()
        for lane in self._lanes.values():
            running.update(lane.tools)
            queued.update(ticket.tool for ticket in lane.waiting)
        return {tool: Load(running[tool], queued[tool]) for tool in running.keys() | queued.keys()}

    def _fill(self, lane: _Lane) -> list[Ticket]:
        """Let those begin who may, in their order."""
        started = []
        for ticket in tuple(lane.waiting):
            if lane.num_running >= ticket.max_running:
                break
            if self._may_run(lane, ticket):
                lane.waiting.remove(ticket)
                self._start(lane, ticket)
                started.append(ticket)
        return started

    def _may_run(self, lane: _Lane, ticket: Ticket) -> bool:
        spare = 1 if ticket.is_early else 0
        return (
            lane.num_running + spare < ticket.max_running
            and lane.tools[ticket.tool] + spare < ticket.max_tool_running
            and self._tenants[ticket.tenant] + spare < self._max_tenant_running
        )

    def _start(self, lane: _Lane, ticket: Ticket) -> None:
        lane.num_running += 1
        lane.tools[ticket.tool] += 1
        self._tenants[ticket.tenant] += 1

    def _forget(self, credential: Credential, lane: _Lane) -> None:
        if not lane.num_running and not lane.waiting:
            del self._lanes[credential]


def _place(ticket: Ticket) -> tuple[bool, float]:
    return ticket.is_early, ticket.rank


def _take_one(counts: Counter[Key], key: Key) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
