"""A proxy as people run it: the `turnwise serve` command in a process of its own, in front of given replicas."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import msgspec

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0
POLL_EVERY_S = 0.1


class Sidecar(msgspec.Struct, frozen=True):
    """Where a running proxy listens."""

    url: str
    admin_url: str


@contextlib.contextmanager
def serving(replicas: Sequence[str], *arguments: str, log: Path, feed: str = "live") -> Iterator[Sidecar]:
    """Run `turnwise serve` until the block is left, which is entered once every replica's feed is in state `feed`."""
    command = [sys.executable, "-m", "turnwise.proxy", "serve", "--port", "0", "--admin-port", "0", *arguments]
    for number, url in enumerate(replicas):
        command += ["--replica", f"replica-{number}={url}"]
    # Variables of this suite begin as settings do, and an unknown setting refuses to start.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TURNWISE_")}
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            assert process.stdout is not None
            announced = process.stdout.readline()
            if not announced:
                raise RuntimeError(f"turnwise serve ended with {process.wait()}: {log.read_text(errors='replace')}")
            sidecar = msgspec.json.decode(announced, type=Sidecar)
            wait_for_feeds(sidecar, feed)
            yield sidecar
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_DEADLINE_S)
            process.kill()


def wait_for_feeds(sidecar: Sidecar, feed: str, deadline_s: float = START_DEADLINE_S) -> None:
    """Return when every replica is routable and its feed of KV events is in state `feed`."""
    deadline = time.monotonic() + deadline_s
    while True:
        replicas = httpx.get(f"{sidecar.admin_url}/v1/replicas").json()["replicas"]
        if all(replica["is_routable"] and replica["feed"] == feed for replica in replicas):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not every feed is {feed} after {deadline_s:.0f} s: {replicas}")
        time.sleep(POLL_EVERY_S)
