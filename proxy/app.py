"""The composition root: builds every part once, runs them in one TaskGroup, and takes them down in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from turnwise.engines.vllm import VllmAdapter
from turnwise.index import KvIndex
from turnwise.proxy import collector
from turnwise.proxy.admin.api import AdminApi
from turnwise.proxy.discovery import Discovery
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Gauges, Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.front import Front
from turnwise.proxy.pipeline import Pipeline
from turnwise.proxy.sweep import keep_swept
from turnwise.proxy.wire import malloc
from turnwise.proxy.wire.server import serve
from turnwise.proxy.wire.upstream import Pool
from turnwise.settings import Settings

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 0.5
"""Pause of the index's housekeeping once nothing is left to do."""


class Addresses(msgspec.Struct, frozen=True):
    """Where a running proxy listens."""

    url: str
    admin_url: str


async def run(settings: Settings, *, stop: asyncio.Event, on_ready: Callable[[Addresses], None] = lambda _: None) -> None:
    """Serve until `stop` is set, then let running calls end within `server.drain_timeout_s`.

    Raises `OSError` where a port is taken.
    """
    malloc.tune()
    # uvloop's own clock stands still within a turn and counts whole milliseconds; both count from the same moment.
    clock = time.monotonic
    index = KvIndex(settings.index)
    fleet = Fleet(settings, index)
    metrics = Metrics()
    recorder = Recorder(index, fleet, metrics, Audit(), clock)
    pool = Pool(settings.upstream, clock=clock)
    pipeline = Pipeline(settings, fleet, pool, recorder, clock)
    front = Front(pipeline, fleet, metrics, allow_paths=settings.surface.allow_paths, clock=clock)
    admin = web.AppRunner(AdminApi(settings, fleet, metrics, recorder, index, clock=clock).application(), access_log=None)
    discovery = Discovery(settings, fleet, index, metrics, VllmAdapter(), clock=clock)
    server = await serve(
        front.handle, settings.server, clock=clock, render_error=front.render_error, new_id=front.new_request_id
    )
    metrics.watch(Gauges(fleet, index, clock=clock, num_connections=lambda: server.num_connections))
    try:
        await admin.setup()
        await web.TCPSite(admin, settings.server.admin_host, settings.server.admin_port).start()
        admin_port = admin.addresses[0][1]
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(discovery.run(), name="discovery"),
                group.create_task(keep_swept(index, clock, pause_s=SWEEP_INTERVAL_S), name="sweep"),
            ]
            collector.tune()
            on_ready(
                Addresses(
                    url=f"http://{settings.server.host}:{server.port}",
                    admin_url=f"http://{settings.server.admin_host}:{admin_port}",
                )
            )
            await stop.wait()
            front.is_draining = True
            await asyncio.sleep(settings.server.drain_delay_s)
            logger.info("stopping: %d connections may end their calls", server.num_connections)
            await server.drain(settings.server.drain_timeout_s)
            for task in background:
                task.cancel()
    finally:
        await server.close()
        pool.close()
        await admin.cleanup()
