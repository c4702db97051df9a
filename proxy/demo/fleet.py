"""Starts the demo's fleet as its users would: three `turnwise sim` and one `turnwise serve`, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

from turnwise.settings import PolicyName

NUM_REPLICAS = 3
MODEL = "sim"
PRESET = "h100-8b"
SPEED = 2.0
NUM_BLOCKS = 3_000
"""KV of 48,000 tokens a replica: about three coding agents with their history, so that somebody must be evicted."""

START_S = 30.0
STOP_S = 5.0


class FleetError(Exception):
    """A process of the fleet did not start; the message holds the end of what it wrote."""


@contextlib.asynccontextmanager
async def running(policy: PolicyName, seed: int, logs: Path) -> AsyncIterator[str]:
    """Run a fresh fleet; gives the proxy's base URL. Every process is stopped on leaving, whatever happened."""
    async with contextlib.AsyncExitStack() as stack:
        sims = await asyncio.gather(*(_sim(stack, number, seed, logs) for number in range(NUM_REPLICAS)))
        arguments = ["serve", "--port", "0", "--admin-port", "0", "--policy", policy, "--log-level", "warning"]
        for number, sim in enumerate(sims):
            arguments += ["--replica", f"replica-{number}={sim['url']}"]
        addresses = await _start(stack, arguments, logs / f"serve-{policy}.log")
        await _until_ready(addresses["url"], addresses["admin_url"], policy)
        yield addresses["url"]


async def _sim(stack: contextlib.AsyncExitStack, number: int, seed: int, logs: Path) -> dict[str, Any]:
    arguments = ["sim", "--port", "0", "--model", MODEL, "--preset", PRESET, "--speed", str(SPEED)]
    arguments += ["--num-blocks", str(NUM_BLOCKS), "--seed", str(seed)]
    return await _start(stack, arguments, logs / f"sim-{number}.log")


async def _start(stack: contextlib.AsyncExitStack, arguments: Sequence[str], log: Path) -> dict[str, Any]:
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
        line = await asyncio.wait_for(process.stdout.readline(), START_S)
        if line:
            decoded: dict[str, Any] = msgspec.json.decode(line)
            return decoded
    raise FleetError(f"`turnwise {' '.join(arguments)}` did not start:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text()[-2000:]


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until_ready(url: str, admin_url: str, policy: PolicyName) -> None:
    """Wait until every replica takes calls and, where the policy listens, every feed is live."""
    async with httpx.AsyncClient(timeout=2, trust_env=False) as http, asyncio.timeout(START_S):
        while True:
            replicas = (await http.get(f"{admin_url}/v1/replicas")).json()["replicas"]
            feed = "live" if policy == "kv_aware" else "none"
            if all(replica["is_routable"] and replica["feed"] == feed for replica in replicas):
                (await http.get(f"{url}/ready")).raise_for_status()
                return
            await asyncio.sleep(0.05)
