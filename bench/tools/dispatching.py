"""A gateway, its tools, a replica and two proxies of which one tells the gateway what the model writes: all real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from os import sched_getaffinity
from pathlib import Path

import httpx
import msgspec
from bench.proxy.processes import READY_TIMEOUT_S, Process, ProcessError, Processes, free_ports
from bench.tools import writing
from bench.tools.agent import TIMEOUT_S, Agent, Run
from mcp import Client

TURNWISE = str(Path(sys.executable).with_name("turnwise"))
SERVER = Path(__file__).with_name("timed_server.py")
UPSTREAM = "timed"

OFF, ON = "off", "on"


class TimedTool(msgspec.Struct, frozen=True):
    """A tool of the bench."""

    closes_at_s: float
    """When its arguments have been written, since the model began to write."""
    takes_s: float
    is_early: bool = True


class Sides(msgspec.Struct, frozen=True):
    """Runs without and with dispatch, in turns."""

    off: list[Run]
    on: list[Run]
    proxy_ftr_s: Mapping[str, list[float]]
    """The same FTR as the proxy's ledger has it, by side."""
    early: float
    """Tool runs that the proxy with dispatch was told to have begun early."""


def measure(tools: Mapping[str, TimedTool], rounds: int) -> Sides:
    """Reach the same goal with dispatch off and on, in turns; the first of each is not counted."""
    with tempfile.TemporaryDirectory() as name, Processes(Path(name)) as processes:
        return asyncio.run(_measure(Path(name), processes, tools, rounds))


async def _measure(folder: Path, processes: Processes, tools: Mapping[str, TimedTool], rounds: int) -> Sides:
    cores = ",".join(map(str, sorted(sched_getaffinity(0))))
    sim, off, off_admin, on, on_admin, front, admin = free_ports(7)
    socket = folder / "tools.sock"
    _write(folder, socket, tools, front, admin)
    replica = [TURNWISE, "sim", "--port", str(sim), "--preset", writing.PRESET, "--speed", str(writing.SPEED)]
    started = [
        (processes.start("sim", replica, cores=cores), f"http://127.0.0.1:{sim}/health"),
        (processes.start("tools", _gateway(folder), cores=cores), f"http://127.0.0.1:{admin}/ready"),
        (processes.start(OFF, _proxy(sim, off, off_admin, ""), cores=cores), f"http://127.0.0.1:{off}/ready"),
        (processes.start(ON, _proxy(sim, on, on_admin, str(socket)), cores=cores), f"http://127.0.0.1:{on}/ready"),
    ]
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
        for process, url in started:
            await _until_ready(http, process, url)
        await _until_listening(http, started[-1][0], on_admin)
        async with _agents(http, f"http://127.0.0.1:{front}/mcp", {OFF: off, ON: on}) as agents:
            sides: dict[str, list[Run]] = {OFF: [], ON: []}
            names = [f"{UPSTREAM}__{name}" for name in tools]
            for number in range(rounds + 1):
                for side, agent in agents.items():
                    sides[side].append(await agent.reach(f"{side} goal {number}", names))
        admins = {OFF: off_admin, ON: on_admin}
        told = {
            side: [await _ftr(http, admins[side], f"{side} goal {number}") for number in range(1, rounds + 1)]
            for side in admins
        }
        page = (await http.get(f"http://127.0.0.1:{on_admin}/metrics")).text
    return Sides(sides[OFF][1:], sides[ON][1:], told, _counted(page, 'turnwise_tool_runs_total{how="early"}'))


def _write(folder: Path, socket: Path, tools: Mapping[str, TimedTool], front: int, admin: int) -> None:
    """The gateway's file, and what its one server offers."""
    schemas = writing.schemas({f"{UPSTREAM}__{name}": tool.closes_at_s for name, tool in tools.items()})
    offered = {name: {"seconds": tool.takes_s, "schema": schemas[f"{UPSTREAM}__{name}"]} for name, tool in tools.items()}
    (folder / "server.json").write_text(json.dumps(offered), encoding="utf-8")
    lines = [
        "[front]",
        f"port = {front}",
        f"admin_port = {admin}",
        f"socket = {json.dumps(str(socket))}",
        "[[upstreams]]",
        f"name = {json.dumps(UPSTREAM)}",
        f"command = {json.dumps([sys.executable, str(SERVER), str(folder / 'server.json')])}",
        "trusted = true",
    ]
    for name, tool in tools.items():
        marks = "read_only = true\nidempotent = true\nopen_world = false\ndeadline_s = 30.0"
        lines += [f"[upstreams.tools.{name}]", marks, f"early = {json.dumps(tool.is_early)}"]
    (folder / "tools.toml").write_text("\n".join(lines), encoding="utf-8")


def _gateway(folder: Path) -> list[str]:
    return [TURNWISE, "tools", "serve", "--config", str(folder / "tools.toml"), "--log-level", "warning"]


def _proxy(sim: int, port: int, admin_port: int, socket: str) -> list[str]:
    argv = [TURNWISE, "serve", "--log-level", "warning", "--port", str(port), "--admin-port", str(admin_port)]
    argv += ["--replica", f"http://127.0.0.1:{sim}"]
    return [*argv, "--set", f"tools.socket={socket}"] if socket else argv


@contextlib.asynccontextmanager
async def _agents(http: httpx.AsyncClient, server: str, ports: Mapping[str, int]) -> AsyncIterator[dict[str, Agent]]:
    """An agent for each proxy, with the same MCP server."""
    async with Client(server) as client:
        offered = (await client.list_tools()).tools
        tools = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
            }
            for tool in offered
        ]
        yield {side: Agent(f"http://127.0.0.1:{port}/v1/chat/completions", http, client, tools) for side, port in ports.items()}


async def _until_ready(http: httpx.AsyncClient, process: Process, url: str) -> None:
    """Wait until a process says that it serves; raises `ProcessError` where it does not."""
    deadline, said = time.monotonic() + READY_TIMEOUT_S, "nothing"
    while time.monotonic() < deadline:
        process.check()
        try:
            answer = await http.get(url)
            if answer.status_code == 200:
                return
            said = f"{answer.status_code} {answer.text}"
        except httpx.HTTPError as error:
            said = str(error)
        await asyncio.sleep(0.1)
    raise ProcessError(f"{process.name} is not ready within {READY_TIMEOUT_S:g} s: {said}")


async def _until_listening(http: httpx.AsyncClient, process: Process, admin_port: int) -> None:
    """Wait until a proxy tells the gateway of tool calls."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        process.check()
        page = (await http.get(f"http://127.0.0.1:{admin_port}/metrics")).text
        if _counted(page, "turnwise_gateway_listening"):
            return
        await asyncio.sleep(0.1)
    raise ProcessError(f"{process.name} does not reach the tools gateway within {READY_TIMEOUT_S:g} s")


async def _ftr(http: httpx.AsyncClient, admin_port: int, program: str) -> float:
    """The FTR of a program as its proxy has it."""
    answer = await http.get(f"http://127.0.0.1:{admin_port}/programs/{program}")
    return float(answer.raise_for_status().json()["ledger"]["ftr_s"])


def _counted(page: str, series: str) -> float:
    """The value of one series of a page of metrics; 0 where it has not begun."""
    lines: Sequence[str] = page.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)
