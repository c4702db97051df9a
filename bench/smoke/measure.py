"""Counts one scene in this process, which has the library in front of its C library, and prints the result as JSON."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop
from bench.smoke.count import Memory
from bench.smoke.library import environment
from bench.smoke.scenes import SCENES, Result

TIMEOUT_S = 60.0
"""A scene takes two to four seconds; one that hangs fails."""


class SceneError(Exception):
    """A scene could not be played."""


def measure(scene: str, library: Path) -> Result:
    """Count a scene in a process of its own; raises `SceneError` with what it said where it fails."""
    command = [sys.executable, "-m", "bench.smoke.measure", scene, str(library)]
    try:
        done = subprocess.run(command, env=environment(library), stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
    except subprocess.TimeoutExpired as error:
        raise SceneError(f"{scene} does not come to an end within {TIMEOUT_S:g} s") from error
    except subprocess.CalledProcessError as error:
        raise SceneError(f"{scene} fails; what it says stands above") from error
    return msgspec.json.decode(done.stdout, type=Result)


async def _counted(scene: Callable[[Memory], Awaitable[Result]], memory: Memory) -> Result:
    gc.disable()  # whether a collection falls into a count is chance
    return await scene(memory)


def _main(name: str, library: str) -> None:
    result = uvloop.run(_counted(SCENES[name], Memory(Path(library))))
    print(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    _main(*sys.argv[1:])
