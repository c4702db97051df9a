"""Proxies that differ in their settings alone, on one core, before a replica, a generator and sinks on another."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from os import sched_getaffinity
from pathlib import Path

import httpx
import msgspec
from bench.programs.sink import How, Taken
from bench.proxy import bodies, scenarios
from bench.proxy.install import compile_tools
from bench.proxy.measure import LOAD_PATIENCE_S, NONCES_PER_SAMPLE
from bench.proxy.peers import ROOT
from bench.proxy.processes import PROC, Process, Processes, free_ports, on_cores, tree, wait_until_answering
from bench.proxy.results import Load, read_load
from prometheus_client.parser import text_string_to_metric_families

OFF = "off"
"""The yardstick: the same proxy, which knows of no programs."""
ON = "on"
SETTINGS_OFF = ("programs.enabled=false",)


class Plan(msgspec.Struct, frozen=True):
    """One kind of load; times as in `bench.proxy.scenarios.Scenario`.

    With a `rate`, so many calls begin a second, evenly but for a jitter and whatever is under way, on that many connections;
    the times of those that begin in the first `lead_s` do not count.
    """

    conversations: Sequence[bodies.Conversation]
    connections: int
    num_chunks: int = 0
    gap_us: int = 0
    rate: float = 0.0
    lead_s: float = 0.0


class Sample(msgspec.Struct, frozen=True):
    """What the generator saw, and the CPU time of the proxy's own thread, and of its others and its processes meanwhile."""

    load: Load
    path_ns: int
    beside_ns: int

    @property
    def path_us(self) -> float:
        """A request, on the thread that serves."""
        return self.path_ns / 1e3 / self.load.requests

    @property
    def busy(self) -> float:
        """The share of a core that the thread which serves took."""
        return self.path_ns / 1e9 / self.load.elapsed_s

    @property
    def beside_us(self) -> float:
        """A request, on all other threads, and in processes that the proxy has started."""
        return self.beside_ns / 1e3 / self.load.requests


class Stage:
    """What stands; made by `standing`."""

    def __init__(self, cache: Path, folder: Path, processes: Processes) -> None:
        cores = sorted(sched_getaffinity(0))
        self._router_core, self._load_core = str(cores[0]), str(cores[-1])
        self._tools = compile_tools(cache)
        self._folder = folder
        self._processes = processes
        self._replica_ports = free_ports(2)
        self._proxies: dict[str, tuple[Process, int, int]] = {}
        self._sinks: dict[str, int] = {}
        self._num_loads = 0
        self._is_by_turns = False
        replica = [str(self._tools / "replica"), *map(str, self._replica_ports)]
        processes.start("replica", replica, cores=self._load_core)

    def sink(self, how: How) -> str:
        """Start a sink; gives its address."""
        (port,) = free_ports(1)
        argv = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "bench.programs.sink", str(port), how]
        self._processes.start(f"sink-{how}", argv, cores=self._load_core)
        self._sinks[how] = port
        return f"http://127.0.0.1:{port}"

    def proxy(self, name: str, settings: Sequence[str]) -> None:
        """Start a proxy, and wait until it answers."""
        port, admin_port = free_ports(2)
        argv = [str(Path(sys.executable).with_name("turnwise")), "serve", "--log-level", "warning"]
        argv += ["--port", str(port), "--admin-port", str(admin_port)]
        for replica in self._replica_ports:
            argv += ["--replica", f"http://127.0.0.1:{replica}"]
        for setting in settings:
            argv += ["--set", setting]
        process = self._processes.start(name, argv, cores=self._router_core)
        wait_until_answering(process, port, scenarios.example())
        self._proxies[name] = process, port, admin_port

    def sample(self, name: str, plan: Plan, seconds: float, seed: int = 0) -> Sample:
        """Load one proxy for so long; raises `RuntimeError` where an answer was not whole. Equal seeds, equal arrivals."""
        process, port, _ = self._proxies[name]
        file = self._folder / f"{id(plan.conversations)}.bodies"
        if not file.exists():
            bodies.write(file, plan.conversations)
        self._num_loads += 1
        options = {
            "port": port,
            "bodies": file,
            "connections": plan.connections,
            "seconds": seconds,
            "chunks": plan.num_chunks,
            "spread-us": plan.num_chunks * plan.gap_us,
            "nonce": self._num_loads * NONCES_PER_SAMPLE,
            "rate": plan.rate,
            "seed": seed,
            "lead-s": plan.lead_s,
        }
        words = [*on_cores(self._load_core), str(self._tools / "load"), *(f"--{key}={value}" for key, value in options.items())]
        if self._is_by_turns:
            process.go_on()
        before = thread_ns(process.pid)
        done = subprocess.run(words, capture_output=True, check=True, timeout=seconds + LOAD_PATIENCE_S)
        after = thread_ns(process.pid)
        if self._is_by_turns:
            process.halt()
        load = read_load(done.stdout)
        if load.errors or not load.requests:
            raise RuntimeError(f"{load.errors} answers of the proxy `{name}` were not whole: {load.first_error}")
        path_ns = after[process.pid] - before[process.pid]
        return Sample(load, path_ns, sum(after.values()) - sum(before.values()) - path_ns)

    @contextlib.contextmanager
    def by_turns(self) -> Iterator[None]:
        """Let a proxy run only while it is sampled: what others put off, and their checks, would take its core."""
        processes = [process for process, _, _ in self._proxies.values()]
        try:
            for process in processes:
                process.halt()
            self._is_by_turns = True
            yield
        finally:
            self._is_by_turns = False
            for process in processes:
                process.go_on()

    def taken(self, how: How) -> Taken:
        """What a sink has taken so far."""
        answer = httpx.get(f"http://127.0.0.1:{self._sinks[how]}/", trust_env=False)
        return msgspec.json.decode(answer.content, type=Taken)

    def counted(self, name: str, metric: str) -> Mapping[tuple[str, ...], float]:
        """The samples of one metric of a proxy, by the values of their labels."""
        page = httpx.get(f"http://127.0.0.1:{self._proxies[name][2]}/metrics", trust_env=False).text
        samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
        return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == metric}


@contextlib.contextmanager
def standing(cache: Path) -> Iterator[Stage]:
    """A stage with a replica on it; all that is started there is ended with it."""
    with tempfile.TemporaryDirectory() as name, Processes(Path(name)) as processes:
        yield Stage(cache, Path(name), processes)


def thread_ns(pid: int) -> dict[int, int]:
    """CPU time of each thread of a process and of all below it, as the scheduler counts it; its first has its own number."""
    found: dict[int, int] = {}
    for process in tree(pid):
        for task in (PROC / str(process) / "task").iterdir():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found[int(task.name)] = int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return found
