"""The room's front: what the MCP server asks and what the link tells, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from turnwise.tools_gateway.messages import Announced, Filled, Settled, Voided
from turnwise.tools_gateway.ports import AgentCall, Audit, Forecaster, Guard, Listener, Meter, Registry, Upstreams
from turnwise.tools_gateway.runs.announcements import Announcements
from turnwise.tools_gateway.runs.budget import Budget
from turnwise.tools_gateway.runs.calls import Calls
from turnwise.tools_gateway.runs.early import Early
from turnwise.tools_gateway.runs.flights import Flights
from turnwise.tools_gateway.runs.memory import Memory
from turnwise.tools_gateway.runs.rooms import Rooms
from turnwise.tools_gateway.runs.telling import Teller
from turnwise.tools_gateway.runs.tenants import ProxyTenants
from turnwise.tools_gateway.schedule import Schedule, Slots
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.values import JsonObject, Load, ToolKey, UpstreamName

SWEEP_S = 0.5
"""Pause between two looks for what nobody has asked for in time."""


class ToolRuns:
    """All calls of tools; made within a running loop, and closed by `aclose`.

    `listener` hears of announced calls; it may be set later, for the link that listens is made from this.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        upstreams: Upstreams,
        registry: Registry,
        forecaster: Forecaster,
        guard: Guard,
        audit: Audit,
        meter: Meter,
        clock: Callable[[], float],
        listener: Listener | None = None,
    ) -> None:
        limits = settings.limits
        self._slots = Slots(Schedule(max_queued=limits.max_queued, max_tenant_running=limits.max_tenant_running))
        max_running = {UpstreamName(upstream.name): upstream.max_running for upstream in settings.upstreams}
        rooms = Rooms(upstreams, registry, forecaster, guard, audit, meter, self._slots, limits, max_running, clock)
        self._clock = clock
        self._teller = teller = Teller(forecaster, clock)
        self._flights = flights = Flights(rooms)
        self._memory = memory = Memory(limits.max_memory_bytes)
        self._budget = Budget(max_early=limits.max_early, max_held_bytes=limits.max_held_bytes)
        early = Early(rooms, flights, memory, budget=self._budget, teller=teller)
        tenants = ProxyTenants(settings)
        self._announcements = Announcements(rooms, tenants, flights, early=early, teller=teller)
        self._calls = Calls(rooms, flights, memory, announcements=self._announcements, early=early, teller=teller)
        self.listen(listener)

    def listen(self, listener: Listener | None) -> None:
        """Have `listener` told of announced calls from now on."""
        self._teller.listener = listener

    async def call(self, asked: AgentCall) -> JsonObject:
        """Give the result of one tool call, from a run of its own or one under way; raises `ToolFault`."""
        return await self._calls.call(asked)

    def announced(self, source: object, told: Announced) -> None:
        """A model has begun to write a tool call."""
        self._announcements.announced(source, told)

    def filled(self, source: object, told: Filled) -> None:
        """Its arguments have closed."""
        self._announcements.filled(source, told)

    def voided(self, source: object, told: Voided) -> None:
        """It is worth nothing."""
        self._announcements.voided(source, told)

    def settled(self, source: object, told: Settled) -> None:
        """Its turn has ended."""
        self._announcements.settled(source, told)

    def disconnected(self, source: object) -> None:
        """A proxy has gone: what it did not settle is void."""
        self._announcements.disconnected(source)

    def loads(self) -> Mapping[ToolKey, Load]:
        """How many runs of each tool run or wait, of tools that have any."""
        return self._slots.loads()

    def memory_bytes(self) -> int:
        """What remembered results take."""
        return self._memory.num_bytes

    async def keep_swept(self) -> None:
        """Give up what nobody has asked for in time, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._announcements.expire()
            self._memory.expire(self._clock())

    async def aclose(self) -> None:
        """Void what is held and cancel what runs, both written down; agents that wait get a `ToolFault`."""
        self._announcements.close()
        await self._flights.aclose()
