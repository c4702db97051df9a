"""CPU of a call through the whole gateway, over that of a bare relay made of the SDK's server and client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from os import sched_getaffinity
from pathlib import Path
from statistics import median

import msgspec
from bench.knowledge.row import Row, at_most
from bench.proxy.peers import ROOT
from bench.proxy.processes import PROC, Process, Processes, cpu_ns, free_ports
from bench.tools import Options
from bench.tools.callers import REVISION, load
from bench.tools.ready import wait_until_listening, wait_until_ready

RELAY, GATEWAY = "relay", "gateway"
BOUNDS = {"stdio": 1.3, "http": 0.5}
TITLES = {"stdio": "a program over stdio", "http": "a server over HTTP, 2026-07-28"}
CONNECTIONS = (1, 16)
ROUNDS, CALLS = 5, 300
TEXT = "What the tool is given, and gives back."
HOW = (
    "The gateway with schema, secrets and audit on, and a relay of the SDK's low-level server and client that checks nothing, "
    "take turns on one core before the same echo server; the callers have the other core. Counted is the process alone, "
    "without the upstream's program. The ratio is the median over rounds."
)


class Target(msgspec.Struct, frozen=True):
    """One of the two that are compared."""

    process: Process
    port: int
    tool: str


class Sample(msgspec.Struct, frozen=True):
    """CPU of one call, in microseconds: of the process, and with the program that it started."""

    own_us: float
    tree_us: float


def rows(_options: Options) -> Sequence[Row]:
    """Measure over stdio and over HTTP, with one caller and with several."""
    return [_row(kind, connections, samples) for kind in BOUNDS for connections, samples in _measure(kind).items()]


def _measure(kind: str) -> dict[int, dict[str, list[Sample]]]:
    samples: dict[int, dict[str, list[Sample]]] = {}
    with _standing(kind) as targets:
        for connections in CONNECTIONS:
            samples[connections] = {name: [] for name in targets}
            for number in range(ROUNDS):
                names = list(targets)
                for name in names[number % 2 :] + names[: number % 2]:
                    samples[connections][name].append(_sample(targets[name], connections))
    return samples


def _sample(target: Target, connections: int) -> Sample:
    before = _own_ns(target.process.pid), cpu_ns(target.process.pid)
    asyncio.run(load(target.port, target.tool, TEXT, calls=CALLS, connections=connections))
    target.process.check()
    own, tree = _own_ns(target.process.pid) - before[0], cpu_ns(target.process.pid) - before[1]
    return Sample(own / 1e3 / CALLS, tree / 1e3 / CALLS)


def _row(kind: str, connections: int, samples: dict[str, list[Sample]]) -> Row:
    ratios = [ours.own_us / theirs.own_us for ours, theirs in zip(samples[GATEWAY], samples[RELAY], strict=True)]
    figures = {f"{name} us": median(sample.own_us for sample in taken) for name, taken in samples.items()}
    if kind == "stdio":
        figures |= {f"{name} and program us": median(sample.tree_us for sample in taken) for name, taken in samples.items()}
    callers = "1 caller" if connections == 1 else f"{connections} callers"
    title = f"CPU of a call to {TITLES[kind]}, {callers}"
    return at_most(f"cpu-{kind}-{connections}", title, median(ratios), BOUNDS[kind], "x a bare SDK relay", figures, HOW)


@contextlib.contextmanager
def _standing(kind: str) -> Iterator[dict[str, Target]]:
    """Both targets before an echo server, until the end of the block."""
    cores = sorted(sched_getaffinity(0))
    near, far = str(cores[0]), str(cores[-1])
    with tempfile.TemporaryDirectory() as name, Processes(Path(name)) as processes:
        folder = Path(name)
        (folder / "bench").symlink_to(Path(ROOT) / "bench")
        relay_port, port, admin_port, echo_port = free_ports(4)
        if kind == "http":
            echo = processes.start("echo", [sys.executable, "-m", "bench.tools.echo", "http", str(echo_port)], cores=far)
            wait_until_listening(echo, echo_port)
            upstream = ["http", f"http://127.0.0.1:{echo_port}/mcp"]
        else:
            upstream = ["stdio", sys.executable, "-m", "bench.tools.echo", "stdio"]
        file = folder / "gateway.toml"
        file.write_text(_settings(folder, port, admin_port, upstream), encoding="utf-8")
        relay = [sys.executable, "-m", "bench.tools.sdk_relay", str(relay_port), *upstream]
        serve = [sys.executable, "-m", "turnwise.proxy", "tools", "serve", "--config", str(file), "--log-level", "warning"]
        targets = {
            RELAY: Target(processes.start(RELAY, relay, cores=near), relay_port, "echo"),
            GATEWAY: Target(processes.start(GATEWAY, serve, cores=near), port, "echo__echo"),
        }
        wait_until_listening(targets[RELAY].process, relay_port)
        wait_until_ready(targets[GATEWAY].process, admin_port)
        yield targets


def _settings(folder: Path, port: int, admin_port: int, upstream: Sequence[str]) -> str:
    """The operator's file, as one would write it for this upstream."""
    kind, *rest = upstream
    (folder / "state").mkdir()
    program = f'command = {json.dumps(rest)}\ncwd = "{folder}"'
    where = f'url = "{rest[0]}"\nallow_private = true\nera = "{REVISION}"' if kind == "http" else program
    return (
        f"[front]\nport = {port}\nadmin_port = {admin_port}\n"
        f'[trust]\nstate_dir = "{folder / "state"}"\n'
        f'[[upstreams]]\nname = "echo"\ntrusted = true\n{where}\n'
    )


def _own_ns(pid: int) -> int:
    """CPU time of all threads of one process, without those that it started."""
    tasks = (PROC / str(pid) / "task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks)
