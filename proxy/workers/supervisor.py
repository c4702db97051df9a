"""Several processes in the place of one: starts the workers, keeps them, serves their admin API, and takes them down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
from aiohttp import web

from turnwise.binding import listening_at
from turnwise.proxy.app import Addresses
from turnwise.proxy.workers.admin import WorkersAdmin
from turnwise.proxy.workers.order import Order
from turnwise.proxy.workers.port import held_port
from turnwise.proxy.workers.ports import Seat
from turnwise.proxy.workers.process import WorkerProcess, WorkersFailed
from turnwise.settings import Settings
from turnwise.types import ReplicaId

logger = logging.getLogger(__name__)

CUT_S = 5.0
"""How long workers that are cut may take before they are killed; a server gives its answers one second."""

SNDBUF_BYTES = 1024 * 1024
"""Wanted for the datagrams that one worker has not read yet."""

MAX_FOLDER_CHARS = 80
"""Of the path of the folder with the workers' sockets: Linux takes 107 characters for a socket's."""


async def run(settings: Settings, *, stop: asyncio.Event, on_ready: Callable[[Addresses], None] = lambda _: None) -> None:
    """Serve with `server.workers` processes until `stop` is set, then let running calls end; cut them if it is cancelled.

    Raises `OSError` where a port is taken, and `WorkersFailed`.
    """
    server = settings.server
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_private_folder())
        port = stack.enter_context(held_port(server.host, server.port))
        pairs = [stack.enter_context(_bus_pair()) for _ in range(server.workers)]
        settings = msgspec.structs.replace(settings, server=msgspec.structs.replace(server, port=port))
        drained: set[ReplicaId] = set()

        def order(number: int, start: int) -> Order:
            siblings = {sibling: pair[1].fileno() for sibling, pair in enumerate(pairs) if sibling != number}
            seat = Seat(
                number=number,
                inbound_fd=pairs[number][0].fileno(),
                sibling_fds=siblings,
                # Each process has a name of its own, so that nobody asks one that has gone.
                admin_path=str(folder / f"worker-{number}-{start}"),
                drained=tuple(drained),
                is_successor=start > 0,
            )
            return Order(settings, seat)

        workers = [WorkerProcess(number, partial(order, number)) for number in range(server.workers)]
        admin = web.AppRunner(
            WorkersAdmin(workers, {ReplicaId(replica.name) for replica in settings.replicas}, drained).application(),
            access_log=None,
            auto_decompress=False,
        )
        try:
            await admin.setup()
            with listening_at(server.admin_host, server.admin_port, "server.admin_"):
                await web.TCPSite(admin, server.admin_host, server.admin_port).start()
            admin_url = f"http://{server.admin_host}:{admin.addresses[0][1]}"
            addresses = Addresses(f"http://{server.host}:{port}", admin_url)
            ends_within_s = server.drain_delay_s + server.drain_timeout_s + settings.traces.flush_timeout_s + CUT_S
            await serve_with(workers, stop, lambda: on_ready(addresses), ends_within_s=ends_within_s)
        finally:
            await admin.cleanup()


async def serve_with(
    workers: Sequence[WorkerProcess], stop: asyncio.Event, on_ready: Callable[[], None], *, ends_within_s: float
) -> None:
    """Keep the workers until `stop` is set and their calls have ended; call `on_ready` once all serve.

    Workers that have not ended `ends_within_s` seconds after `stop` hang, and are killed. Raises `WorkersFailed`.
    """
    keeping = [asyncio.create_task(worker.keep(), name=f"worker {worker.number}") for worker in workers]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    serving = asyncio.create_task(_all_served(workers), name="start")
    try:
        await asyncio.wait({serving, stopping, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done() and not stop.is_set():
            on_ready()
            await asyncio.wait({stopping, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            logger.info("stopping: %d workers may end their calls", len(workers))
            for worker in workers:
                worker.stop()
        limit_s = ends_within_s if stop.is_set() else None
        ended, hanging = await asyncio.wait(keeping, timeout=limit_s, return_when=asyncio.FIRST_EXCEPTION)
        statuses = [task.result() for task in ended]
        if hanging:
            raise WorkersFailed(f"{len(hanging)} of {len(keeping)} workers do not end")
        if any(statuses):
            raise WorkersFailed(f"workers ended with status {', '.join(map(str, statuses))}")
    finally:
        serving.cancel()
        stopping.cancel()
        await _cut(workers, keeping)


async def _all_served(workers: Sequence[WorkerProcess]) -> None:
    for worker in workers:
        await worker.has_served.wait()


async def _cut(workers: Sequence[WorkerProcess], keeping: Sequence[asyncio.Task[int]]) -> None:
    """End every worker that still lives; afterwards none does."""
    for worker in workers:
        worker.cut()
    try:
        await asyncio.wait(keeping, timeout=CUT_S)
    finally:
        for worker in workers:
            worker.kill()
    await asyncio.gather(*keeping, return_exceptions=True)


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that only this user can enter, gone in the end."""
    try:
        holder = tempfile.TemporaryDirectory(prefix="turnwise-")
    except FileNotFoundError:
        raise WorkersFailed("several workers need a folder for sockets: set TMPDIR to one that can be written") from None
    with holder as name:
        if len(name) > MAX_FOLDER_CHARS:
            raise WorkersFailed(f"several workers need a folder with a short name for sockets: set TMPDIR (now {name})")
        yield Path(name)


@contextlib.contextmanager
def _bus_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Where one worker hears, and where its siblings speak to it; the pair outlives the processes that it is lent to."""
    inbound, outbound = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with inbound, outbound:
        # As much as the system allows: the default holds three of the largest datagrams.
        outbound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF_BYTES)
        inbound.setblocking(False)
        outbound.setblocking(False)
        yield inbound, outbound
