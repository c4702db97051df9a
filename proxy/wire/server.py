"""The port that clients talk to: listening, draining, closing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from turnwise.binding import listening_at
from turnwise.proxy.wire.connection import Connection
from turnwise.proxy.wire.hub import Handler, Hub, RenderError
from turnwise.settings import Server

_BACKLOG = 2048
_SETTLE_S = 1.0
"""How long handlers may take to end their answers, and clients to read them, before both are cut."""


class RunningServer:
    """A server that accepts connections until it is drained or closed; made by `serve`."""

    def __init__(self, hub: Hub, listener: asyncio.Server) -> None:
        self._hub = hub
        self._listener = listener
        self._port: int = listener.sockets[0].getsockname()[1]

    @property
    def port(self) -> int:
        """The port that it listens on, also where the setting was 0."""
        return self._port

    @property
    def num_connections(self) -> int:
        """Client connections that are open."""
        return len(self._hub.connections)

    async def listen(self) -> None:
        """Accept connections, where `serve` was told not to yet."""
        await self._listener.start_serving()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - running out of time is an outcome here, no error
        """Accept nobody, let running calls end, and say whether they all had within `timeout` seconds."""
        hub = self._hub
        self._stop_accepting()
        for connection in tuple(hub.connections):
            connection.close_when_idle()
        try:
            async with asyncio.timeout(timeout):
                await self._ended()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Accept nobody, let every answer under way end at once, and cut what has not ended soon."""
        hub = self._hub
        self._stop_accepting()
        for connection in tuple(hub.connections):
            connection.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                await self._ended()
        for connection in tuple(hub.connections):
            connection.abort()
        tasks = tuple(hub.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await hub.is_empty.wait()

    async def _ended(self) -> None:
        """Wait until no connection is open and no handler runs."""
        await self._hub.is_empty.wait()
        if self._hub.tasks:
            await asyncio.wait(tuple(self._hub.tasks))

    def _stop_accepting(self) -> None:
        self._hub.is_draining = True
        self._listener.close()


async def serve(
    handler: Handler,
    settings: Server,
    *,
    clock: Callable[[], float],
    render_error: RenderError,
    new_id: Callable[[], str],
    shares_port: bool = False,
    listens: bool = True,
) -> RunningServer:
    """Listen, and run `handler` as one task for each request; raises `OSError` that names the address where it cannot be bound.

    With `shares_port`, other processes of this user may listen on the same port, and the kernel deals connections out to all.
    Without `listens` the port is taken, and nobody can connect before `RunningServer.listen`.

    `render_error(fault, target)` gives the JSON body that tells of a fault, `target` being None where it could not be read;
    `new_id()` gives the `x-request-id` of answers that no handler saw; `clock` gives seconds on the loop's clock.
    """
    loop = asyncio.get_running_loop()
    hub = Hub(handler, settings, clock=clock, render_error=render_error, new_id=new_id)
    with listening_at(settings.host, settings.port, "server."):
        listener = await loop.create_server(
            lambda: Connection(hub, loop),
            settings.host,
            settings.port,
            backlog=_BACKLOG,
            reuse_port=shares_port or None,
            start_serving=listens,
        )
    return RunningServer(hub, listener)
