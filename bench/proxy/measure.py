"""Takes the samples: all targets stand from the start, each scenario visits them one after another, round after round."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from bench.proxy import scenarios
from bench.proxy.install import Installed, say
from bench.proxy.peers import DIRECT, ON_REQUEST, PEERS, ROOT, Peer, Site
from bench.proxy.processes import (
    Process,
    ProcessError,
    Processes,
    cpu_ns,
    free_ports,
    memory,
    on_cores,
    wait_until_answering,
)
from bench.proxy.results import Load, Run, Sample, Target, read_load
from bench.proxy.scenarios import Scenario

NUM_REPLICAS = 2
WARM_UP_S = 0.5
LOAD_PATIENCE_S = 40.0
NONCES_PER_SAMPLE = 1 << 32


class Plan(msgspec.Struct, frozen=True):
    """What to measure, how long and where."""

    targets: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    rounds: int
    seconds: float
    seed: int
    router_cores: str
    load_cores: str
    command: str


class _Standing(NamedTuple):
    target: Target
    port: int
    process: Process | None


def measure(plan: Plan, installed: Installed, folder: Path) -> Run:
    """Start everything, warm it up, take all samples, stop everything.

    Raises `ProcessError` where a target does not start or ends, or the generator fails.
    """
    began = dt.datetime.now(dt.UTC)
    commit, is_dirty = _git("rev-parse", "--short=12", "HEAD"), bool(_git("status", "--porcelain"))
    files = scenarios.write_bodies(folder, plan.seed, plan.scenarios)
    with Processes(folder) as processes:
        bench = _Bench(plan, installed, folder, files)
        bench.start(processes)
        bench.warm_up()
        samples = tuple(bench.samples())
    return Run(
        machine=machine(),
        commit=commit,
        is_dirty=is_dirty,
        began=began.isoformat(timespec="seconds"),
        command=plan.command,
        seed=plan.seed,
        rounds=plan.rounds,
        seconds=plan.seconds,
        targets=bench.targets,
        scenarios=tuple(scenario.name for scenario in plan.scenarios),
        samples=samples,
    )


class _Bench:
    def __init__(self, plan: Plan, installed: Installed, folder: Path, files: dict[str, Path]) -> None:
        self._plan = plan
        self._installed = installed
        self._folder = folder
        self._files = files
        self._standing: list[_Standing] = []
        self._missing: list[Target] = []
        self._loaded_s: dict[str, float] = {}
        self._num_loads = 0

    @property
    def targets(self) -> tuple[Target, ...]:
        """All targets, those that are missing last."""
        return (*(standing.target for standing in self._standing), *self._missing)

    def start(self, processes: Processes) -> None:
        ports = free_ports(NUM_REPLICAS)
        replicas = processes.start("replicas", [str(self._installed.replica), *map(str, ports)], cores=self._plan.load_cores)
        body = scenarios.example()
        wait_until_answering(replicas, ports[0], body)
        if DIRECT in self._plan.targets:
            command = shlex.join(["replica", *map(str, ports)])
            direct = Target(name=DIRECT, title="no router", version="", command=command, note="the first replica itself")
            self._standing.append(_Standing(direct, ports[0], None))
        for peer in (*PEERS, *ON_REQUEST):
            if peer.name in self._plan.targets:
                self._start(processes, peer, tuple(ports), body)

    def _start(self, processes: Processes, peer: Peer, replica_ports: tuple[int, ...], body: bytes) -> None:
        if peer.package in self._installed.missing:
            reason = self._installed.missing[peer.package]
            self._missing.append(Target(name=peer.name, title=peer.title, version="", command="", missing=reason))
            return
        port, *spare = free_ports(4)
        folder = self._folder / peer.name
        folder.mkdir()
        site = Site(port=port, spare_ports=(spare[0], spare[1], spare[2]), replica_ports=replica_ports, folder=folder)
        argv = peer.argv(self._installed, site)
        say(f"starting {peer.name}")
        process = processes.start(peer.name, argv, cores=self._plan.router_cores)
        wait_until_answering(process, port, body)
        target = Target(
            name=peer.name,
            title=peer.title,
            version=peer.version(self._installed),
            command=shlex.join([Path(argv[0]).name, *argv[1:]]).replace(f"{self._folder}/", ""),
            is_rust_cache_aware=peer.package is not None,
            note=peer.note,
            idle_memory=memory(process.pid),
        )
        self._standing.append(_Standing(target, port, process))

    def warm_up(self) -> None:
        for scenario in self._plan.scenarios:
            say(f"warming up with {scenario.name}")
            for standing in self._standing:
                self._load(scenario, standing, WARM_UP_S)

    def samples(self) -> Iterator[Sample]:
        for number in range(1, self._plan.rounds + 1):
            for scenario in self._plan.scenarios:
                turn = number % len(self._standing)  # nobody always comes first, or after the same one
                for standing in self._standing[turn:] + self._standing[:turn]:
                    sample = self._sample(number, scenario, standing)
                    say(_progress(sample, self._plan.rounds, scenario))
                    yield sample

    def _sample(self, number: int, scenario: Scenario, standing: _Standing) -> Sample:
        process = standing.process
        before = cpu_ns(process.pid) if process else 0
        load = self._load(scenario, standing, self._plan.seconds * scenario.weight)
        after = cpu_ns(process.pid) if process else 0
        return Sample(
            round=number,
            scenario=scenario.name,
            target=standing.target.name,
            load=load,
            cpu_ns=after - before,
            memory=memory(process.pid) if process else None,
            loaded_s=self._loaded_s[standing.target.name],
        )

    def _load(self, scenario: Scenario, standing: _Standing, seconds: float) -> Load:
        if standing.process:
            standing.process.check()
        self._num_loads += 1
        options = {
            "port": standing.port,
            "bodies": self._files[scenario.bodies],
            "connections": scenario.connections,
            "seconds": seconds,
            "chunks": scenario.num_chunks,
            "spread-us": scenario.spread_us,
            "nonce": self._num_loads * NONCES_PER_SAMPLE,
        }
        argv = [
            *on_cores(self._plan.load_cores),
            str(self._installed.load),
            *(f"--{key}={value}" for key, value in options.items()),
        ]
        try:
            done = subprocess.run(argv, capture_output=True, check=True, timeout=seconds + LOAD_PATIENCE_S)
            load = read_load(done.stdout)
        except subprocess.CalledProcessError as error:
            raise ProcessError(f"the generator failed on {standing.target.name}: {error.stderr.decode()}") from error
        except (subprocess.TimeoutExpired, msgspec.DecodeError) as error:
            raise ProcessError(f"the generator gave no result on {standing.target.name}: {error}") from error
        name = standing.target.name
        self._loaded_s[name] = self._loaded_s.get(name, 0.0) + load.elapsed_s
        return load


def machine() -> dict[str, str]:
    """What the run ran on."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _progress(sample: Sample, rounds: int, scenario: Scenario) -> str:
    cpu = sample.cpu_us_per_unit
    load = sample.load
    cost = f"{cpu:8.1f} us CPU a {scenario.unit}" if cpu is not None else " " * 25
    rate = (load.chunks or load.requests) / load.elapsed_s if load.elapsed_s else 0.0
    wrong = f"  {load.errors} errors: {load.first_error}" if load.errors else ""
    return f"{sample.round}/{rounds} {scenario.name:10} {sample.target:21} {cost} {rate:9.0f} {scenario.unit}s/s{wrong}"
