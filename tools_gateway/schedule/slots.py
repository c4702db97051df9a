"""Waiting for a slot: the shell around `Schedule`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from turnwise.tools_gateway.schedule.lanes import Schedule, Ticket
from turnwise.tools_gateway.values import Load, ToolKey


class Slots:
    """Lets coroutines wait for their tickets' slots."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}

    def loads(self) -> Mapping[ToolKey, Load]:
        """How many runs of each tool have a slot or wait for one, of tools that have any."""
        return self._schedule.loads()

    async def enter(self, ticket: Ticket) -> None:
        """Come back when the ticket has a slot, which `leave` gives back; raises `ToolFault` where the queue is full."""
        if self._schedule.enter(ticket):
            return
        self._waiting[ticket] = started = asyncio.get_running_loop().create_future()
        try:
            await started
        except asyncio.CancelledError:
            # It may have been given the slot in the same turn of the loop; the schedule knows which it holds.
            self._waiting.pop(ticket, None)
            self.leave(ticket)
            raise

    def leave(self, ticket: Ticket) -> None:
        """Give back a slot."""
        self._wake(self._schedule.leave(ticket))

    def promote(self, ticket: Ticket) -> None:
        """Somebody has asked for what an early ticket waits for."""
        self._wake(self._schedule.promote(ticket))

    def _wake(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            started = self._waiting.pop(ticket)
            if not started.done():
                started.set_result(None)
