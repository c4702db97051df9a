"""`GET /tools`: how long tools run, as the proxy learned it."""

from __future__ import annotations

from aiohttp import web

from turnwise.admin.answers import as_json, only
from turnwise.proxy.programs import Programs


class ToolsApi:
    """Answers from what `programs` learned; nothing where they are not told apart."""

    def __init__(self, programs: Programs | None) -> None:
        self._programs = programs

    def routes(self) -> list[web.RouteDef]:
        """Make its route, also under `/v1`."""
        return [web.get(f"{prefix}/tools", self.get_tools) for prefix in ("", "/v1")]

    async def get_tools(self, request: web.Request) -> web.Response:
        """Each tool of each tenant as `ToolPause`, by name; `?tenant=` chooses."""
        only(request, "tenant")
        tenant = request.query.get("tenant")
        pauses = None if self._programs is None else self._programs.pauses
        known = [] if pauses is None else pauses.listing()
        return as_json({"tools": [pause for pause in known if tenant is None or pause.tenant == tenant]})
