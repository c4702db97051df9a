"""The whole product in this process, between clients and replicas on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from bench.smoke.wire import Client, Replica, Stream

from turnwise import logs, names, settings
from turnwise.proxy import app
from turnwise.proxy.sweep import PROGRAMS_INTERVAL_S

HOST = "127.0.0.1"
NUM_REPLICAS = 2
NEVER_S = 3600.0
"""For all that would fall into a count by chance."""
START_S = 30.0
LOOKS = 2
"""Looks for what was put off: the first does it, the second finds nothing."""
PAUSE_S = 0.02


class Stage:
    """Clients that are connected to the product, and as many that are connected to a replica directly."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.proxied: list[Client] = []
        self.direct: list[Client] = []

    async def connect(self, number: int, proxy_port: int, replica_port: int) -> None:
        """Open `number` connections of either kind."""
        loop = asyncio.get_running_loop()
        for port, clients in ((proxy_port, self.proxied), (replica_port, self.direct)):
            for _ in range(number):
                _, client = await loop.create_connection(lambda: Client(self.stream.go_on), HOST, port)
                clients.append(client)

    def close(self) -> None:
        """Close the clients' connections."""
        for client in (*self.proxied, *self.direct):
            client.transport.close()


async def play(clients: Sequence[Client], requests: Sequence[bytes]) -> None:
    """Send the requests over all connections at once, one at a time over each."""
    number = len(clients)
    for done in [client.play(requests[at::number]) for at, client in enumerate(clients)]:
        await done


async def rest() -> None:
    """Wait until the product has done what it puts off: it tells of calls and programs that have ended at its next look."""
    for _ in range(LOOKS):
        await asyncio.sleep(PROGRAMS_INTERVAL_S)  # the product's own pause began before, so its look comes first


@asynccontextmanager
async def staged(num_connections: int, stream: Stream | None = None, socket: str = "") -> AsyncIterator[Stage]:
    """Start replicas and the product, and connect the clients once both replicas take calls.

    The tools gateway at `socket`, where one is named, has greeted by then.
    """
    loop = asyncio.get_running_loop()
    stage = Stage(stream or Stream())
    servers = [await loop.create_server(lambda: Replica(stage.stream), HOST, 0) for _ in range(NUM_REPLICAS)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    logs.set_up("warning")
    stop = asyncio.Event()
    ready: asyncio.Future[app.Addresses] = loop.create_future()
    async with asyncio.TaskGroup() as group:
        group.create_task(app.run(_settings(ports, socket), stop=stop, on_ready=ready.set_result))
        addresses = await ready
        await _wait_for_replicas(addresses.admin_url)
        if socket:
            await _wait_for_gateway(addresses.admin_url)
        await stage.connect(num_connections, httpx.URL(addresses.url).port or 0, ports[0])
        try:
            yield stage
        finally:
            stage.close()
            stop.set()
    for server in servers:
        server.close()


def _settings(ports: Sequence[int], socket: str) -> settings.Settings:
    return settings.Settings(
        replicas=tuple(settings.Replica(url=f"http://{HOST}:{port}", name=f"r{port}", events="off") for port in ports),
        server=settings.Server(port=0, admin_port=0, head_timeout_s=NEVER_S, keepalive_timeout_s=NEVER_S, drain_timeout_s=1.0),
        upstream=settings.UpstreamSettings(keepalive_s=NEVER_S),
        fleet=settings.Fleet(check_interval_s=NEVER_S),
        log=settings.Log(level="warning"),
        tools=settings.ToolSettings(socket=socket),
    )


async def _wait_for_replicas(admin_url: str) -> None:
    async with asyncio.timeout(START_S), httpx.AsyncClient(trust_env=False) as http:
        while True:
            replicas = (await http.get(f"{admin_url}/v1/replicas")).json()["replicas"]
            if all(replica["is_healthy"] for replica in replicas):
                return
            await asyncio.sleep(PAUSE_S)


async def _wait_for_gateway(admin_url: str) -> None:
    async with asyncio.timeout(START_S), httpx.AsyncClient(trust_env=False) as http:
        while True:
            if f"{names.LINK_LISTENING.name} 1" in (await http.get(f"{admin_url}/metrics")).text:
                return
            await asyncio.sleep(PAUSE_S)
