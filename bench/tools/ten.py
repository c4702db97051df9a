"""Ten tool servers behind the upstreams of a gateway, half of them programs and half behind a port, and what breaks one."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bench.proxy.processes import free_ports

from turnwise.tools_gateway.credentials import Credentials
from turnwise.tools_gateway.settings import Settings, UpstreamSettings
from turnwise.tools_gateway.upstreams import GatewayUpstreams, State
from turnwise.tools_gateway.values import Credential, JsonObject, Request, ToolFault, UpstreamName

SERVER = Path(__file__).with_name("faulty_server.py")
HALF = 5
READY_S, CALL_S, LOOK_S = 120.0, 1.0, 0.02
ENDLESS = 10**12


class Server:
    """A tool server that can be broken and mended; a program of the gateway's unless it has a port."""

    def __init__(self, name: str, folder: Path, port: int | None) -> None:
        self.name, self._port = UpstreamName(name), port
        self._link = folder / f"{name}.py"
        self._process: asyncio.subprocess.Process | None = None
        self._link.symlink_to(SERVER)
        self._refusing = folder / "refusing.py"

    def settings(self) -> UpstreamSettings:
        """As an operator would write it."""
        if self._port is None:
            return UpstreamSettings(name=self.name, command=(sys.executable, "-P", str(self._link)))
        return UpstreamSettings(name=self.name, url=f"http://127.0.0.1:{self._port}/mcp", allow_private=True)

    async def start(self) -> None:
        """Start what the gateway does not, until its port takes connections."""
        if self._port is None:
            return
        command = [sys.executable, "-P", str(self._link), "--port", str(self._port), "--stream"]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
        async with asyncio.timeout(READY_S):
            while True:
                if _takes_connections(self._port):
                    return
                await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        """End what the gateway did not start."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    def signal(self, pid: int | None, number: signal.Signals) -> None:
        """To the server, which is the gateway's program `pid` where it is one."""
        pid = pid if self._process is None else self._process.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def refuse(self) -> None:
        """From now on its program ends as it starts."""
        self._refusing.write_text("raise SystemExit(1)\n", encoding="utf-8")
        self._lead_to(self._refusing)

    def admit(self) -> None:
        """From now on its program starts again."""
        self._lead_to(SERVER)

    @property
    def is_program(self) -> bool:
        """Whether the gateway starts it."""
        return self._port is None

    def _lead_to(self, target: Path) -> None:
        self._link.unlink()
        self._link.symlink_to(target)


class Ten:
    """The upstreams, and who asks them."""

    def __init__(self, servers: list[Server], upstreams: GatewayUpstreams, credentials: Credentials) -> None:
        self.servers, self._upstreams, self._credentials = servers, upstreams, credentials

    async def call(self, server: Server, tool: str, arguments: JsonObject, within_s: float = CALL_S) -> JsonObject:
        """Call a tool as the gateway does; raises `ToolFault`."""
        request = Request("tools/call", {"name": tool, "arguments": arguments}, time.monotonic() + within_s)
        return await self._upstreams.ask(self._credential(server), request, _nobody)

    def pid(self, server: Server) -> int | None:
        """Of the gateway's program."""
        return next(facts.pid for facts in self._upstreams.facts() if facts.upstream == server.name)

    async def ready(self) -> None:
        """Until all stand."""
        async with asyncio.timeout(READY_S):
            while True:
                if all(facts.state is State.UP for facts in self._upstreams.facts()):
                    return
                await asyncio.sleep(LOOK_S)

    async def healed(self, server: Server) -> float:
        """Seconds until a call of it ends well."""
        began = time.monotonic()
        async with asyncio.timeout(READY_S):
            while True:
                try:
                    await self.call(server, "echo", {"text": "back"})
                except ToolFault:
                    await asyncio.sleep(LOOK_S)
                else:
                    return time.monotonic() - began

    def _credential(self, server: Server) -> Credential:
        return self._credentials.of(server.name, "")


@asynccontextmanager
async def standing() -> AsyncIterator[Ten]:
    """Ten servers that stand."""
    with tempfile.TemporaryDirectory(prefix="turnwise-ten-") as folder:
        programs = [Server(f"program{number}", Path(folder), None) for number in range(HALF)]
        endpoints = [Server(f"endpoint{number}", Path(folder), port) for number, port in enumerate(free_ports(HALF))]
        servers = programs + endpoints
        settings = Settings(upstreams=tuple(server.settings() for server in servers))
        upstreams = GatewayUpstreams(settings, {}, on_tools=_learn, clock=time.monotonic, rng=random.Random(1))
        owner: asyncio.Task[None] | None = None
        try:
            for server in servers:
                await server.start()
            owner = asyncio.create_task(upstreams.run())
            await asyncio.sleep(0)
            ten = Ten(servers, upstreams, Credentials(settings, {}))
            await ten.ready()
            yield ten
        finally:
            if owner is not None:
                owner.cancel()
                await asyncio.wait((owner,))
            for server in servers:
                await server.stop()


def _takes_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def _learn(_upstream: UpstreamName, _definitions: list[JsonObject], _credential: Credential) -> None:
    """Nobody is offered these tools."""


async def _nobody(_method: str, _params: JsonObject) -> None:
    """Takes what an upstream tells on the way."""
