"""All rooms of one gateway, each built once and given the others that it needs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from random import Random

from turnwise.tools_gateway.credentials import Credentials
from turnwise.tools_gateway.export.admin import AdminApi
from turnwise.tools_gateway.export.meter import CallMeter
from turnwise.tools_gateway.export.run_times import RunTimesFile
from turnwise.tools_gateway.export.sources import Sources
from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.link import Link
from turnwise.tools_gateway.runs import ToolRuns
from turnwise.tools_gateway.server.front import McpFront, Rooms
from turnwise.tools_gateway.server.readiness import Readiness
from turnwise.tools_gateway.server.told import Told
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.trust import KeptTools, PinnedGuard, Tokens, ToolAudit
from turnwise.tools_gateway.upstreams import GatewayUpstreams
from turnwise.tools_gateway.values import Credential, JsonObject, Principal, Tool, UpstreamName


class Gateway:
    """The rooms, which do nothing yet; raises `SettingsError` where what the file names cannot be had."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        clock = time.monotonic
        self._tenants = ("", *(tenant.name for tenant in settings.tenants))
        self.audit = ToolAudit(settings.trust)
        self.registry = KeptTools(settings, Credentials(settings, environ).of, self.audit)
        self.told = Told(self.registry)
        rng = Random()  # noqa: S311 - spreads out when upstreams are dialled again
        self.upstreams = GatewayUpstreams(settings, environ, on_tools=self._learn, watcher=self.told, clock=clock, rng=rng)
        guard = PinnedGuard(settings)
        table = RunTable()
        self.run_times = RunTimesFile(settings.trust.state_dir, table, clock=clock, wall=time.time)
        meter = CallMeter(clock=clock)
        self.runs = ToolRuns(
            settings,
            upstreams=self.upstreams,
            registry=self.registry,
            forecaster=table,
            guard=guard,
            audit=self.audit,
            meter=meter,
            clock=clock,
        )
        self.link = Link(settings.front.socket) if settings.front.socket else None
        self.runs.listen(self.link)
        names = self.upstreams.upstream_names
        self.readiness = Readiness(self.upstreams, self.registry, names, clock)
        tokens = Tokens(settings)
        asked = tokens if tokens.are_needed else None
        rooms = Rooms(self.registry, self.runs, self.upstreams, self.audit, guard, meter, asked)
        self.front = McpFront(settings, rooms, self.told)
        sources = Sources(
            meter=meter,
            table=table,
            loads=self.runs,
            tools=lambda: list(self._all_tools()),
            sessions=self.upstreams.facts,
            complaints=self.registry.complaints,
            audit_failures=lambda: self.audit.num_unwritten,
            notices_dropped=lambda: self.told.bounds.num_dropped,
            clock=clock,
        )
        self.admin = AdminApi(sources, not_ready=self.readiness.not_ready, allow_hosts=settings.front.allow_hosts)

    @property
    def first(self) -> Principal:
        """Whoever stands for all where one is needed: the first tenant of the file, or nobody by name."""
        return Principal(self._tenants[-1] if len(self._tenants) == 1 else self._tenants[1])

    def _learn(self, upstream: UpstreamName, definitions: list[JsonObject], credential: Credential) -> None:
        if self.registry.told(upstream, definitions, credential):
            self.told.tools_changed()

    def _all_tools(self) -> Iterator[Tool]:
        """Each tool once, as the first tenant that has it sees it."""
        shown: set[str] = set()
        for tenant in self._tenants:
            for tool in self.registry.known(Principal(tenant)):
                if tool.name not in shown:
                    shown.add(tool.name)
                    yield tool
