"""The composition root of the tools gateway: runs all rooms in one TaskGroup, and takes them down in order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from socket import socket

import msgspec
from aiohttp import web

from turnwise import collector
from turnwise.tools_gateway.server.front import PATH
from turnwise.tools_gateway.server.gateway import Gateway
from turnwise.tools_gateway.server.listening import bind
from turnwise.tools_gateway.settings import Settings

logger = logging.getLogger(__name__)


class Addresses(msgspec.Struct, frozen=True):
    """Where a running gateway listens."""

    url: str
    admin_url: str
    socket: str = ""
    """Path on which proxies tell of tool calls; empty for none."""


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[Addresses], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Serve until `stop` is set, then let calls under way end within `front.drain_timeout_s`.

    Raises `OSError` where a port or the socket is taken, `SettingsError` where what the file names cannot be had.
    """
    with (
        bind(settings.front.host, settings.front.port, "front.") as front,
        bind(settings.front.admin_host, settings.front.admin_port, "front.admin_") as admin,
    ):
        gateway = Gateway(settings, environ)
        async with _working(gateway), _admin_on(gateway, admin), gateway.front.serving(front):
            collector.tune()
            on_ready(Addresses(_url(front) + PATH, _url(admin), settings.front.socket))
            await stop.wait()
            gateway.readiness.is_stopping = True
            logger.info("stopping: calls under way may end")


@asynccontextmanager
async def _working(gateway: Gateway) -> AsyncIterator[None]:
    """All that the front asks, at work; what runs at the end is cancelled and written down."""
    gateway.run_times.read()
    try:
        # Before there is a group, which would give what fails as a group of failures.
        await _open_link(gateway)
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(gateway.upstreams.run(), name="upstreams"),
                group.create_task(gateway.runs.keep_swept(), name="sweep"),
                group.create_task(gateway.registry.run(gateway.told.tools_changed), name="registry"),
                group.create_task(gateway.run_times.keep_written(), name="run times"),
                group.create_task(gateway.readiness.run(gateway.first), name="readiness"),
            ]
            try:
                yield
            finally:
                if gateway.link is not None:
                    await gateway.link.close()
                await gateway.runs.aclose()
                for task in background:
                    task.cancel()
    finally:
        gateway.run_times.write_last()
        gateway.registry.write_last()
        gateway.audit.close()


async def _open_link(gateway: Gateway) -> None:
    """Listen for proxies, where the operator's file says so; raises `OSError` naming the key and the path."""
    if gateway.link is None:
        return
    try:
        await gateway.link.open(gateway.runs)
    except OSError as error:
        raise OSError(error.errno, f"front.socket: {gateway.link.path}: {error.strerror or error}") from error


@asynccontextmanager
async def _admin_on(gateway: Gateway, bound: socket) -> AsyncIterator[None]:
    """Answer on the admin port."""
    runner = web.AppRunner(gateway.admin.application(), access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, bound).start()
        yield
    finally:
        await runner.cleanup()


def _url(bound: socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
