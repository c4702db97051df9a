"""Programs on the admin port: the list, one with its timeline and prompts, and the end of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from aiohttp import web
from msgspec.structs import replace

from turnwise.admin.answers import as_json, one_of, only, quoted, refused, whole_number
from turnwise.index import KvIndex
from turnwise.proxy.admin.program_page import GraphPage, graph_page, program_page, remaining_s
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.programs import Programs
from turnwise.proxy.programs.values import Key, Outcome, Summary
from turnwise.settings import Settings

STATES = ("live", "ended")
DEFAULT_LIMIT = 100

MAX_REMAINING = 256
"""Programs of one answer of which it is told how long the tools take that they wait for: each is looked up, 10 us."""

MAX_TOLD = 16
"""Programs of one name that an error tells."""


class ProgramsApi:
    """Answers about `programs`, None where they are not told apart."""

    def __init__(
        self,
        settings: Settings,
        programs: Programs | None,
        index: KvIndex,
        fleet: Fleet,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._programs = programs
        self._index = index
        self._fleet = fleet
        self._clock = clock
        self._wall = wall

    def routes(self) -> list[web.RouteDef]:
        """Make its routes, each also under `/v1`."""
        return [
            route
            for prefix in ("", "/v1")
            for route in (
                web.get(f"{prefix}/programs", self.get_programs),
                web.get(f"{prefix}/programs/{{id}}", self.get_program),
                web.post(f"{prefix}/programs/{{id}}/end", self.post_end),
            )
        ]

    async def get_programs(self, request: web.Request) -> web.Response:
        """Programs as `Summary`, the most recently used first.

        `?tenant=`, `?session=` and `?state=live` or `ended` choose, `?limit=` bounds how many are told.
        """
        only(request, "tenant", "session", "state", "limit")
        limit = whole_number(request, "limit", DEFAULT_LIMIT)
        state = one_of(request, "state", STATES)
        tenant, session = request.query.get("tenant"), request.query.get("session")
        programs, now = self._known(), self._clock()
        unix_zero = self._wall() - now
        if state is None and tenant is None and session is None:
            return self._listed(programs.listing(now, limit, unix_zero), now)
        found: Iterable[Summary] = programs.listing(now, None, unix_zero)
        if state is not None:
            found = [summary for summary in found if (summary.outcome is Outcome.OPEN) == (state == "live")]
        if tenant is not None:
            found = [summary for summary in found if summary.tenant == tenant]
        if session is not None:
            found = [summary for summary in found if summary.session == session]
        return self._listed(islice(found, limit), now)

    async def get_program(self, request: web.Request) -> web.Response:
        """One program, by its id or the name that a client gave it: account, timeline, prompts and who holds them, calls."""
        summary = self._summary(request)
        programs, now = self._known(), self._clock()
        found = programs.calls(summary.id)
        if found is None:
            raise _unknown(summary.id)
        key, calls = found
        graph = programs.graph(summary.id)
        prompts = GraphPage()
        if graph is not None:
            rate = self._settings.index.bytes_per_token
            prompts = graph_page(graph, calls, self._index, list(self._fleet.members), rate, now)
        return as_json(
            program_page(
                summary,
                key,
                calls,
                prompts,
                self._settings,
                now,
                self._wall(),
                programs.running(summary.id),
                programs.waits(summary.id, now),
                programs.void_runs(summary.id),
            )
        )

    async def post_end(self, request: web.Request) -> web.Response:
        """End a program now, by its id or name; of one that has ended it says how.

        Those who listen are told once no call of it runs.
        """
        summary = self._summary(request)
        outcome = Outcome.ASKED if self._known().end(summary.id, self._clock()) else summary.outcome
        return as_json({"program": summary.id, "outcome": outcome, "calls": summary.calls})

    def _listed(self, found: Iterable[Summary], now: float) -> web.Response:
        """The answer with these; of the first ones that wait for tools, how long yet."""
        waits = self._known().waits
        told = list(found)
        for place, summary in enumerate(islice(told, MAX_REMAINING)):
            if summary.waiting:
                told[place] = replace(summary, remaining_s=remaining_s(waits(summary.id, now)))
        return as_json({"programs": told})

    def _known(self) -> Programs:
        if self._programs is None:
            raise refused("programs are not told apart here: `programs.enabled` is off", "programs.enabled", status=404)
        return self._programs

    def _summary(self, request: web.Request) -> Summary:
        """The program that the path and `?tenant=` mean; raises HTTP 404, and 409 where these are several."""
        only(request, "tenant", "worker")
        programs, text = self._known(), request.match_info["id"]
        found = programs.find(text, request.query.get("tenant"))
        if len(found) > 1:
            raise _ambiguous(text, found)
        summary = programs.summary(found[0].id, self._clock()) if found else None
        if summary is None:
            raise _unknown(text)
        return summary


def _ambiguous(text: str, found: Sequence[Key]) -> web.HTTPException:
    some = found[:MAX_TOLD]
    told = ", ".join(f"{key.id} (tenant {key.tenant or 'without a credential'})" for key in some)
    more = f" and {len(found) - len(some)} more" if len(found) > len(some) else ""
    return refused(
        f"{len(found)} live programs of different tenants are named `{quoted(text)}`; say which by its id: {told}{more}",
        "id",
        status=409,
        programs=[{"id": key.id, "tenant": key.tenant} for key in some],
    )


def _unknown(text: str) -> web.HTTPException:
    return refused(f"no program `{quoted(text)}` is known: those that live are, and the last that ended", "id", status=404)
