"""The composition root of one process: builds every part once, runs them in one TaskGroup, and takes them down in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from turnwise import collector
from turnwise.binding import listening_at
from turnwise.engines.vllm import VllmAdapter
from turnwise.index import KvIndex
from turnwise.proxy import warm
from turnwise.proxy.admin.api import AdminApi
from turnwise.proxy.discovery import Discovery
from turnwise.proxy.dispatch import Combination, Dispatch
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.breaks import LinterFigures
from turnwise.proxy.export.prometheus import Gauges, Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.front import Front
from turnwise.proxy.gateway import DispatchFigures, Gateway, GatewayFigures, event_of
from turnwise.proxy.lint import Linter
from turnwise.proxy.listening import Listening
from turnwise.proxy.pipeline import Pipeline
from turnwise.proxy.programs import Programs
from turnwise.proxy.programs.pauses import Pauses
from turnwise.proxy.sweep import keep_swept, keep_told
from turnwise.proxy.wire import malloc
from turnwise.proxy.wire.server import RunningServer, serve
from turnwise.proxy.wire.upstream import Pool
from turnwise.proxy.workers.bus import Bus, bus_at
from turnwise.proxy.workers.metrics import BusFigures
from turnwise.proxy.workers.ports import Seat
from turnwise.settings import Server, Settings
from turnwise.tools_gateway.messages import ToolTold

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 0.5
"""Pause of the index's housekeeping once nothing is left to do."""


class Addresses(msgspec.Struct, frozen=True):
    """Where a running proxy listens."""

    url: str
    admin_url: str


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[Addresses], None] = lambda _: None,
    seat: Seat | None = None,
) -> None:
    """Serve until `stop` is set, then let running calls end within `server.drain_timeout_s`.

    `seat` is the place of this process among its workers, None where it is the only one.
    Raises `OSError` where a port is taken.
    """
    malloc.tune()
    # uvloop's own clock stands still within a turn and counts whole milliseconds; both count from the same moment.
    clock = time.monotonic
    later = asyncio.get_running_loop().call_later
    index = KvIndex(settings.index)
    bus = None if seat is None else bus_at(seat, clock=clock, schedule=later)
    fleet = Fleet(settings, index, bus)
    metrics = Metrics()
    linter = _linter(settings, metrics)
    programs = _programs(settings, bus)
    gateway = _gateway(settings, programs, metrics, seat)
    listening = Listening.of(settings, os.environ, programs, clock, None if seat is None else seat.number)
    audit = Audit(lambda: time.time() - clock())
    recorder = Recorder(index, fleet, metrics, audit, clock, bus, linter, programs, listening.listeners, tells_later=True)
    pool = Pool(settings.upstream, clock=clock)
    pipeline = Pipeline(settings, fleet, pool, recorder, clock, _dispatch(gateway, metrics))
    front = Front(pipeline, fleet, metrics, allow_paths=settings.surface.allow_paths, clock=clock)
    application = AdminApi(settings, fleet, metrics, recorder, index, programs, clock=clock).application()
    admin = web.AppRunner(application, access_log=None, auto_decompress=False)
    listening.show(metrics, application, recorder.tell_calls)
    state_file = settings.index.state_file
    remembered = warm.read(state_file, index, clock())
    discovery = Discovery(settings, fleet, index, metrics, VllmAdapter(), clock=clock, remembered=remembered)
    # All workers know the same, so one of them writes it down.
    writes = bool(state_file) and (seat is None or seat.number == 0)
    if bus is not None and seat is not None:
        await _take_seat(bus, seat, fleet, index, programs, metrics)
    server = await serve(
        front.handle,
        settings.server,
        clock=clock,
        render_error=front.render_error,
        new_id=front.new_request_id,
        shares_port=seat is not None,
        # Its siblings serve meanwhile: clients that the system dealt to it would be told of replicas that it has not reached.
        listens=seat is None or not seat.is_successor,
    )
    metrics.watch(Gauges(fleet, index, metrics.calls, clock=clock, num_connections=lambda: server.num_connections))
    listening.start()
    try:
        admin_url = await _start_admin(admin, settings.server, seat)
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(discovery.run(), name="discovery"),
                group.create_task(keep_swept(index, clock, pause_s=SWEEP_INTERVAL_S), name="sweep"),
                group.create_task(keep_told(recorder), name="programs"),
            ]
            if writes:
                interval_s = settings.index.state_interval_s
                keeping = warm.keep_written(state_file, index, discovery.remembered, interval_s=interval_s)
                background.append(group.create_task(keeping, name="state file"))
            beside = (("bus", bus), ("tools gateway", gateway))
            background += [group.create_task(part.run(), name=name) for name, part in beside if part is not None]
            if seat is not None and seat.is_successor:
                await _listen_once_seen(server, discovery, settings.fleet.check_timeout_s)
            collector.tune()
            on_ready(Addresses(url=f"http://{settings.server.host}:{server.port}", admin_url=admin_url))
            await stop.wait()
            front.is_draining = True
            await asyncio.sleep(settings.server.drain_delay_s)
            logger.info("stopping: %d connections may end their calls", server.num_connections)
            await server.drain(settings.server.drain_timeout_s)
            for task in background:
                task.cancel()
    finally:
        await server.close()
        recorder.sweep_programs(is_last=True)
        pool.close()
        if bus is not None:
            bus.close()
        await admin.cleanup()
        if writes:
            warm.write_last(state_file, index, discovery.remembered())
        await listening.stop()


def _linter(settings: Settings, metrics: Metrics) -> Linter | None:
    """Who compares prompts, and its figures; None where nobody does."""
    linter = Linter.of(settings)
    if linter is not None:
        metrics.watch(LinterFigures(linter))
    return linter


def _programs(settings: Settings, bus: Bus | None) -> Programs | None:
    """Who tells programs apart; None where nobody does."""
    if not settings.programs.enabled:
        return None
    pauses = Pauses.of(settings.tools)
    if bus is None:
        return Programs(settings.programs, settings.traces, pauses=pauses)
    return Programs(settings.programs, settings.traces, tell=bus.told, pauses=pauses, soon=bus.soon)


def _gateway(settings: Settings, programs: Programs | None, metrics: Metrics, seat: Seat | None) -> Gateway | None:
    """The link to the tools gateway; None where none is set."""
    if not settings.tools.socket:
        return None

    def hear(told: ToolTold) -> None:
        if programs is not None:
            programs.tool_event(event_of(told), told.program)

    name = "turnwise" if seat is None else f"turnwise worker {seat.number}"
    gateway = Gateway(settings.tools, hear, name=f"{name}, pid {os.getpid()}")
    metrics.watch(GatewayFigures(gateway))
    return gateway


def _dispatch(gateway: Gateway | None, metrics: Metrics) -> Dispatch | None:
    """Who watches answers for tool calls; None where nobody is told of them."""
    if gateway is None:
        return None

    def early_off(who: Combination) -> None:
        logger.error(
            "%s, model %s, writes something behind the arguments of tool calls (%s): nothing of it runs early any more",
            who.engine,
            who.model,
            who.dialect,
        )

    dispatch = Dispatch(gateway, early_off)
    metrics.watch(DispatchFigures(dispatch))
    return dispatch


async def _take_seat(bus: Bus, seat: Seat, fleet: Fleet, index: KvIndex, programs: Programs | None, metrics: Metrics) -> None:
    """Begin to know what siblings know."""
    bus.join(fleet, index, None if programs is None else programs.elsewhere)
    metrics.watch(BusFigures(bus))
    await bus.open()
    for name in seat.drained:
        fleet.members[name].is_draining = True


async def _listen_once_seen(server: RunningServer, discovery: Discovery, timeout_s: float) -> None:
    """Accept clients when every replica was tried, or has not answered in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await discovery.has_looked.wait()
    await server.listen()


async def _start_admin(admin: web.AppRunner, server: Server, seat: Seat | None) -> str:
    """Start the admin API, of a worker on its Unix socket; returns its URL."""
    await admin.setup()
    if seat is not None:
        await web.UnixSite(admin, seat.admin_path).start()
        return f"unix:{seat.admin_path}"
    with listening_at(server.admin_host, server.admin_port, "server.admin_"):
        await web.TCPSite(admin, server.admin_host, server.admin_port).start()
    return f"http://{server.admin_host}:{admin.addresses[0][1]}"
