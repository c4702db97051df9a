"""The admin API: `/metrics`, the replicas as the proxy sees them, recent decisions, the settings in force, the page."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from turnwise.admin.answers import as_json, refused, whole_number
from turnwise.admin.exposition import Format
from turnwise.admin.guard import alone, guarded
from turnwise.index import KvIndex, ReplicaStats
from turnwise.proxy.admin import page
from turnwise.proxy.admin.programs import ProgramsApi
from turnwise.proxy.admin.tool_runs import ToolRunsApi
from turnwise.proxy.admin.tools import ToolsApi
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.programs import Programs
from turnwise.proxy.states import EXPLAINED, replica_states
from turnwise.settings import Settings
from turnwise.types import ReplicaId

DEFAULT_LIMIT = 20
"""Recent calls that are told."""


class AdminApi:
    """An aiohttp application on a port of its own."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        metrics: Metrics,
        recorder: Recorder,
        index: KvIndex,
        programs: Programs | None = None,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._metrics = metrics
        self._recorder = recorder
        self._index = index
        self._clock = clock
        self._wall = wall
        self._programs = ProgramsApi(settings, programs, index, fleet, clock=clock, wall=wall)
        self._tools = ToolsApi(programs)
        self._tool_runs = ToolRunsApi(programs, settings.programs.max_age_s, clock=clock, wall=wall)

    def application(self) -> web.Application:
        """Build the application with its routes."""
        app = web.Application(middlewares=[guarded, alone])
        app.add_routes(
            [
                web.get("/metrics", self.get_metrics),
                web.get("/health", self.get_health),
                web.get("/v1/replicas", self.get_replicas),
                web.post("/v1/replicas/{name}/drain", self.post_drain),
                web.post("/v1/replicas/{name}/undrain", self.post_undrain),
                web.get("/v1/calls", self.get_calls),
                web.get("/v1/index", self.get_index),
                web.get("/v1/settings", self.get_settings),
                *self._programs.routes(),
                *self._tool_runs.routes(),
                *self._tools.routes(),
                *page.routes(),
            ]
        )
        return app

    async def get_metrics(self, request: web.Request) -> web.Response:
        """All metrics for Prometheus, with exemplars where OpenMetrics is asked for."""
        form = Format.wanted(request.headers.get("accept", ""))
        self._recorder.tell_calls()
        return web.Response(body=self._metrics.render(form), headers={"content-type": form.value})

    async def get_health(self, _: web.Request) -> web.Response:
        """Say that the process is alive."""
        return as_json({"status": "alive"})

    async def get_replicas(self, _: web.Request) -> web.Response:
        """Every replica: what it is, whether it gets calls, how busy it is, what is known of its cache."""
        return as_json({"replicas": [self._replica(name) for name in self._fleet.members]})

    async def post_drain(self, request: web.Request) -> web.Response:
        """Send no new calls to a replica; running ones end in peace."""
        return self._set_draining(request, is_draining=True)

    async def post_undrain(self, request: web.Request) -> web.Response:
        """Send calls to a replica again."""
        return self._set_draining(request, is_draining=False)

    async def get_calls(self, request: web.Request) -> web.Response:
        """Recent calls, newest first, each with why it went where it went; `?limit=` bounds them."""
        limit = whole_number(request, "limit", DEFAULT_LIMIT)
        return as_json({"calls": self._recorder.recent[-limit:][::-1] if limit else []})

    async def get_index(self, _: web.Request) -> web.Response:
        """What the index remembers, and how teaching goes."""
        stats = self._index.stats()
        replicas = {name: self._dated(cache) for name, cache in stats.replicas.items()}
        return as_json(msgspec.structs.replace(stats, replicas=replicas))

    async def get_settings(self, _: web.Request) -> web.Response:
        """The settings in force."""
        return as_json(self._settings)

    def _set_draining(self, request: web.Request, *, is_draining: bool) -> web.Response:
        name = ReplicaId(request.match_info["name"])
        if name not in self._fleet.members:
            known = ", ".join(self._fleet.members)
            raise refused(f"no replica `{name}`; there are: {known}", "name", status=404)
        self._fleet.members[name].is_draining = is_draining
        return as_json(self._replica(name))

    def _dated(self, cache: ReplicaStats) -> ReplicaStats:
        """The same with its moment in Unix time."""
        if cache.emptied_at is None:
            return cache
        return msgspec.structs.replace(cache, emptied_at=cache.emptied_at + self._wall() - self._clock())

    def _replica(self, name: ReplicaId) -> dict[str, object]:
        member = self._fleet.members[name]
        now = self._clock()
        cache = self._index.stats().replicas.get(name)
        states = replica_states(member, cache, self._metrics.calls.answered(name), now)
        return {
            "name": member.id,
            "url": member.settings.url,
            "facts": member.facts,
            "is_healthy": member.is_healthy,
            "is_draining": member.is_draining,
            "is_routable": member.is_routable(now),
            "feed": member.feed,
            "states": [{"state": state, **msgspec.structs.asdict(EXPLAINED[state])} for state in states],
            "load": member.load,
            "cache": None if cache is None else self._dated(cache),
            "num_running": member.num_running,
            "pending_prefill_tokens": round(self._fleet.pending_prefill_tokens(member, now)),
            "recent_assigned_s": member.recent_assigned_s(now),
            "prefill_tokens_per_s": self._fleet.prefill_tokens_per_s(member),
            "transfer": member.loading.stats,
        }
