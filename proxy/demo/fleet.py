"""Starts the demo's processes as its users would: `turnwise tools serve`, three `turnwise sim` and a `turnwise serve`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import msgspec

from turnwise.proxy.demo import corpus
from turnwise.settings import PolicyName

NUM_REPLICAS = 3
MODEL = "sim"
PRESET = "h100-8b"
SPEED = 2.0
NUM_BLOCKS = 3_000
"""KV of 48,000 tokens a replica: about three coding agents with their history, so that somebody must be evicted."""
TOOL_SERVER = "turnwise.proxy.demo.tool_server"

START_S = 30.0
STOP_S = 5.0


class FleetError(Exception):
    """A process of the fleet did not start; the message holds the end of what it wrote."""


class Addresses(msgspec.Struct, frozen=True):
    """Where a process that was started listens, as it says itself."""

    url: str
    admin_url: str = ""


@contextlib.asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[Addresses]:
    """Run a tools gateway before the demo's tool server, whose pages it puts into `folder`; gives where it listens.

    The proxy tells it of tool calls at `socket_in(folder)`. It is stopped on leaving, whatever happened.
    """
    pages = folder / "pages"
    pages.mkdir()
    corpus.write(pages)
    file = folder / "tools.toml"
    file.write_text(operators_file(socket_in(folder), pages))
    async with contextlib.AsyncExitStack() as stack:
        arguments = ["tools", "serve", "--config", str(file)]
        addresses = await _start(stack, arguments, folder / "tools.log")
        await _until_well(addresses)
        yield addresses


def socket_in(folder: Path) -> Path:
    """Where the gateway of `folder` hears of tool calls."""
    return folder / "tools.sock"


def operators_file(socket: Path, pages: Path) -> str:
    """What an operator would write: where the gateway listens, what it starts, and what may run early."""
    command = [sys.executable, "-m", TOOL_SERVER, str(pages)]
    lines = [
        "[front]",
        "port = 0",
        "admin_port = 0",
        f"socket = {_toml(str(socket))}",
        "[[upstreams]]",
        'name = "corpus"',
        # It stands alone, and nothing of the agents' own is called so.
        'prefix = ""',
        f"command = [{', '.join(map(_toml, command))}]",
        "trusted = true",
    ]
    for tool in ("page", "search", "count"):
        lines += [f"[upstreams.tools.{tool}]", "read_only = true", "idempotent = true", "open_world = false", "early = true"]
        lines.append("deadline_s = 5.0")
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """A string as TOML writes it: as JSON does."""
    return msgspec.json.encode(text).decode()


@contextlib.asynccontextmanager
async def running(policy: PolicyName, seed: int, logs: Path, socket: Path | None) -> AsyncIterator[Addresses]:
    """Run a fresh fleet, whose proxy tells of tool calls at `socket`; gives where the proxy listens.

    Every process is stopped on leaving, whatever happened.
    """
    async with contextlib.AsyncExitStack() as stack:
        sims = await asyncio.gather(*(_sim(stack, number, seed, logs) for number in range(NUM_REPLICAS)))
        arguments = ["serve", "--port", "0", "--admin-port", "0", "--policy", policy, "--log-level", "warning"]
        for number, sim in enumerate(sims):
            arguments += ["--replica", f"replica-{number}={sim.url}"]
        if socket is not None:
            arguments += ["--set", f"tools.socket={socket}"]
        addresses = await _start(stack, arguments, logs / f"serve-{policy}.log")
        await _until_ready(addresses, policy)
        yield addresses


async def _sim(stack: contextlib.AsyncExitStack, number: int, seed: int, logs: Path) -> Addresses:
    arguments = ["sim", "--port", "0", "--model", MODEL, "--preset", PRESET, "--speed", str(SPEED)]
    arguments += ["--num-blocks", str(NUM_BLOCKS), "--seed", str(seed)]
    return await _start(stack, arguments, logs / f"sim-{number}.log")


async def _start(stack: contextlib.AsyncExitStack, arguments: Sequence[str], log: Path) -> Addresses:
    """Start one `turnwise` process and read the line of JSON with which it says where it listens."""
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "turnwise.proxy", *arguments, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    finally:
        os.close(errors)
    stack.push_async_callback(_stop, process)
    assert process.stdout is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        if line:
            return msgspec.json.decode(line, type=Addresses)
    raise FleetError(f"`turnwise {' '.join(arguments)}` did not start:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text()[-2000:]


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until_ready(addresses: Addresses, policy: PolicyName) -> None:
    """Wait until every replica takes calls and, where the policy listens, every feed is live."""
    async with httpx.AsyncClient(timeout=2, trust_env=False) as http, asyncio.timeout(START_S):
        while True:
            replicas = (await http.get(f"{addresses.admin_url}/v1/replicas")).json()["replicas"]
            feed = "live" if policy == "kv_aware" else "none"
            if all(replica["is_routable"] and replica["feed"] == feed for replica in replicas):
                (await http.get(f"{addresses.url}/ready")).raise_for_status()
                return
            await asyncio.sleep(0.05)


async def _until_well(addresses: Addresses) -> None:
    """Wait until the gateway offers the tools of the demo's server."""
    async with httpx.AsyncClient(timeout=2, trust_env=False) as http, asyncio.timeout(START_S):
        while True:
            if (await http.get(f"{addresses.admin_url}/tools")).json()["tools"]:
                return
            await asyncio.sleep(0.05)
