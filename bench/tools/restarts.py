"""A program that is started and ended a thousand times: what is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from turnwise.tools_gateway.settings import UpstreamSettings
from turnwise.tools_gateway.upstreams.stdio import StdioDial

NUM_RESTARTS, SETTLE_S = 1000, 2.0
DESCRIPTORS = "/proc/self/fd"
SMALL = Path(__file__).with_name("small_server.py")


def left_of_restarts() -> dict[str, int]:
    """Processes, descriptors and folders that are left."""
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            return uvloop.run(_restart())
        finally:
            tempfile.tempdir = None


async def _restart() -> dict[str, int]:
    """What is left of programs that were started and ended a thousand times."""
    upstream = UpstreamSettings(name="small", command=(sys.executable, "-I", "-S", str(SMALL)))
    dial = StdioDial(upstream, {}, news=_unheard, lost=_unheard, clock=time.monotonic, capabilities={})
    await (await dial()).aclose()  # what the loop itself keeps for programs is open from now on
    before = _entries(DESCRIPTORS)
    pids: set[int] = set()
    for number in range(NUM_RESTARTS):
        connection = await dial()
        assert connection.pid is not None
        pids.add(connection.pid)
        if how := (None, signal.SIGKILL, signal.SIGSTOP)[number % 3]:
            os.kill(connection.pid, how)
            connection.give_up("it was broken")
        await connection.aclose()
    for _ in range(100):
        if not _running(pids):
            break
        await asyncio.sleep(SETTLE_S / 100)
    return {
        "processes": _running(pids),
        "descriptors": max(0, _entries(DESCRIPTORS) - before),
        "folders": _entries(tempfile.gettempdir()),
    }


def _running(groups: set[int]) -> int:
    """Processes of these groups, each of which one program led; what has ended counts while it is ours to be waited for."""
    return sum(_is_of(groups, path) for path in Path("/proc").iterdir() if path.name.isdigit())


def _is_of(groups: set[int], process: Path) -> bool:
    """Whether a process is left of one of these groups."""
    try:
        state, parent, group, *_ = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return False
    return int(group) in groups and (state not in {"Z", "X"} or int(parent) == os.getpid())


def _entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def _unheard(*_: object) -> None:
    """Nobody listens."""
