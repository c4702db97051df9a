"""The gateway's admin port: `/tools`, `/metrics`, `/health`, `/ready`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, disable_created_metrics

from turnwise.admin.answers import as_json, error_text, only, quoted, refused
from turnwise.admin.exposition import Format, rendered
from turnwise.admin.guard import guarded
from turnwise.tools_gateway.export.gauges import Gauges
from turnwise.tools_gateway.export.rows import tools_page
from turnwise.tools_gateway.export.sources import Sources

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminApi:
    """An aiohttp application on a port of its own; it changes nothing."""

    def __init__(self, sources: Sources, *, not_ready: Callable[[], str], allow_hosts: Collection[str] = ()) -> None:
        """`not_ready` says in a few words why calls cannot be served yet; empty where they can."""
        # Without this each counter has a second family, `_created`, that is documented nowhere and doubles the page.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._registry.register(sources.meter)
        self._registry.register(Gauges(sources))
        self._sources = sources
        self._not_ready = not_ready
        self._allow_hosts = frozenset(host.lower() for host in allow_hosts)

    def application(self) -> web.Application:
        """Build the application with its routes."""
        app = web.Application(middlewares=[guarded, self._of_known_host])
        app.add_routes(
            [
                web.get("/tools", self.get_tools),
                web.get("/metrics", self.get_metrics),
                web.get("/health", self.get_health),
                web.get("/ready", self.get_ready),
            ]
        )
        return app

    async def get_tools(self, request: web.Request) -> web.Response:
        """Every tool with what was learned of it, and every session with an upstream; `?upstream=` chooses one."""
        only(request, "upstream")
        page = tools_page(self._sources)
        upstream = request.query.get("upstream")
        if upstream is None:
            return as_json(page)
        known = {row.upstream for row in page.tools} | {row.upstream for row in page.sessions}
        if upstream not in known:
            raise refused(f"no upstream `{quoted(upstream)}`; there are: {', '.join(sorted(known))}", "upstream", status=404)
        tools = [row for row in page.tools if row.upstream == upstream]
        sessions = [row for row in page.sessions if row.upstream == upstream]
        complaints = [said for said in page.complaints if said.startswith(f"{upstream} ")]
        return as_json(msgspec.structs.replace(page, tools=tools, sessions=sessions, complaints=complaints))

    async def get_metrics(self, request: web.Request) -> web.Response:
        """All metrics for Prometheus."""
        form = Format.wanted(request.headers.get("accept", ""))
        return web.Response(body=rendered(self._registry, form), headers={"content-type": form.value})

    async def get_health(self, _: web.Request) -> web.Response:
        """Say that the process is alive."""
        return as_json({"status": "alive"})

    async def get_ready(self, _: web.Request) -> web.Response:
        """Say whether calls can be served; HTTP 503 where not."""
        why = self._not_ready()
        return as_json({"status": "not ready", "why": why}, 503) if why else as_json({"status": "ready"})

    @web.middleware
    async def _of_known_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Raise HTTP 421 for another host's name: a page may have made its own name mean this address."""
        if not _is_address(request.host) and request.host.lower() not in self._allow_hosts:
            message = f"`{quoted(request.host)}` is not served here; `front.allow_hosts` names hosts that are"
            raise web.HTTPMisdirectedRequest(text=error_text(message, "host"), content_type="application/json")
        return await handler(request)


def _is_address(host: str) -> bool:
    """Whether a `Host` is an address, which no DNS can make mean another, or `localhost`."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False
