"""How much of what is no tool call runs at once: with one upstream, and for one tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from turnwise.tools_gateway.schedule import Schedule, Slots, Ticket
from turnwise.tools_gateway.server.catalogue import Home
from turnwise.tools_gateway.settings import Limits
from turnwise.tools_gateway.values import Fault, ToolFault, ToolKey, UpstreamName


class RelayTurns:
    """Slots beside those of calls, in the same number: a page of resources that is slow takes none from a call."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._slots = Slots(Schedule(max_queued=limits.max_queued, max_tenant_running=limits.max_tenant_running))
        self._now = now

    @asynccontextmanager
    async def of(self, home: Home, tenant: str, method: str, deadline: float) -> AsyncIterator[None]:
        """Hold a slot, once there is one; raises `ToolFault` where too many wait, or none comes by the deadline."""
        now = self._now()
        name, most = UpstreamName(home.upstream.name), home.upstream.max_running
        ticket = Ticket(
            home.credential,
            ToolKey(name, method),
            tenant,
            max_running=most,
            max_tool_running=most,
            entered_at=now,
            expected_s=0.0,
        )
        try:
            async with asyncio.timeout(deadline - now):
                await self._slots.enter(ticket)
        except TimeoutError:
            message = f"{method} was not asked of {name}: its time passed while it waited for its turn."
            raise ToolFault(Fault.DEADLINE, message) from None
        try:
            yield
        finally:
            self._slots.leave(ticket)
