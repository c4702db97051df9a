"""`POST /tool-runs`: what ran a tool tells when, in place of what is inferred from the gap between two calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import isfinite

import msgspec
from aiohttp import web

from turnwise.admin.answers import as_json, refused
from turnwise.events import ToolEvent
from turnwise.proxy.programs import Programs
from turnwise.proxy.programs.values import Told

PATH = "/tool-runs"
SKEW_S = 1.0
"""How far in the future a run may have ended: whoever measured it has another clock."""
MAX_RUNS = 1024
"""Of one request."""


class ToolRunTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run of a tool; times are Unix seconds."""

    tool_call_id: str
    """As the model's answer has it."""
    started_at: float
    ended_at: float
    queued_at: float | None = None
    program: str = ""
    """Id or name of the program, where several wait for results of such an id."""
    ok: bool = True


_RUNS = msgspec.json.Decoder(list[ToolRunTold])


class ToolRunsApi:
    """Hands what is told to `programs`, None where they are not told apart; no run is older than `max_age_s`.

    `clock` is that of calls, `wall` the time of day.
    """

    def __init__(
        self,
        programs: Programs | None,
        max_age_s: float,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._programs = programs
        self._max_age_s = max_age_s
        self._clock = clock
        self._wall = wall

    def routes(self) -> list[web.RouteDef]:
        """Make its route, also under `/v1`."""
        return [web.post(f"{prefix}{PATH}", self.post_runs) for prefix in ("", "/v1")]

    async def post_runs(self, request: web.Request) -> web.Response:
        """Take runs before the calls that bring their results.

        `unknown` are the ids that no call waits for, `ambiguous` those that several do.

        HTTP 400 names the field of a body that cannot be read; then no run of it is taken.
        """
        if self._programs is None:
            raise refused("programs are not told apart here: `programs.enabled` is off", "programs.enabled", status=404)
        try:
            runs = _RUNS.decode(await request.read())
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise refused(f"the body must be a list of tool runs: {error}", "body") from None
        if len(runs) > MAX_RUNS:
            raise refused(f"the body must not hold more than {MAX_RUNS} tool runs", "body")
        now = self._wall()
        ahead_s = self._clock() - now
        events = [(run, _event(number, run, ahead_s)) for number, run in enumerate(runs)]
        for number, run in enumerate(runs):
            self._check_age(number, run, now)
        found: dict[Told, list[str]] = {told: [] for told in Told}
        for run, event in events:
            found[self._programs.tool_event(event, run.program)].append(run.tool_call_id)
        return as_json({**found, Told.TAKEN: len(found[Told.TAKEN])})

    def _check_age(self, number: int, run: ToolRunTold, now: float) -> None:
        """Raise HTTP 400 for a time at which nothing can have run that a call waits for: milliseconds, another clock."""
        for name, moment in (("queued_at", run.queued_at), ("started_at", run.started_at), ("ended_at", run.ended_at)):
            if moment is not None and not now - self._max_age_s <= moment <= now + SKEW_S:
                field, age_s = f"[{number}].{name}", f"{self._max_age_s:g}"
                raise refused(f"`{field}` must be in Unix seconds, of the last {age_s} s (`programs.max_age_s`)", field)


def _event(number: int, run: ToolRunTold, ahead_s: float) -> ToolEvent:
    """A run on the proxy's clock, which is `ahead_s` of Unix time; raises HTTP 400 where its times are in no order."""
    queued_at = run.started_at if run.queued_at is None else run.queued_at
    times = (queued_at, run.started_at, run.ended_at)
    for name, before, after in (("started_at", *times[:2]), ("ended_at", *times[1:])):
        if not (isfinite(before) and isfinite(after) and before <= after):
            raise refused(f"`[{number}].{name}` must not be before what it follows", f"[{number}].{name}")
    return ToolEvent(run.tool_call_id, queued_at + ahead_s, run.started_at + ahead_s, run.ended_at + ahead_s, run.ok)
