"""The p99 of a relayed stream while KV events flow, over what it is without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import httpx
from bench.knowledge.row import Row, at_most, over_neighbours
from bench.proxy import scenarios
from bench.proxy.install import CFLAGS, compile_tools
from bench.proxy.measure import LOAD_PATIENCE_S, NONCES_PER_SAMPLE
from bench.proxy.peers import ROOT
from bench.proxy.processes import Processes, cpu_ns, free_ports, on_cores, wait_until_answering
from bench.proxy.results import Load, read_load
from bench.proxy.scenarios import Scenario

from turnwise.index.holdings import BLOCKS_SLACK

BOUND = 1.5
EVENTS_PER_S = 400.0
"""Of 128 blocks each: 51,200 blocks a second, as 27 replicas store that prefill 30,000 new tokens a second each."""
STREAMS, GAP_US = 8, 2_000
ROUNDS, SECONDS = 9, 1.5
CACHE_BLOCKS = 24_000
"""Of the replica's cache: the index keeps a quarter more, fewer than pass before the same come again, so every event is of new
blocks and evicts others."""
READY_S = 30.0
POLITELY = ("chrt", "--idle", "0")
"""The publisher shares a core with what takes the time of chunks, and must not hold it up: another machine would run it. One
that is merely nice keeps the core until its slice is over, though others wake."""
QUIET, EVENTS, CONTROL = "quiet", "events", "control"
IN_TURN = (QUIET, EVENTS, QUIET, CONTROL)
"""What a round samples; in a control there are no events either, and one quiet sample more follows the last."""
SCENARIO = Scenario("stream2ms", "", "2ms", connections=STREAMS, num_chunks=scenarios.NUM_CHUNKS, gap_us=GAP_US)
HOW = (
    f"{STREAMS} streams with a chunk each {GAP_US // 1000} ms through the proxy on one core; generator, replica and publisher "
    f"share the other, the publisher where both are idle. In every fourth sample {EVENTS_PER_S:.0f} events a second come by "
    "ZMQ, of 128 new blocks each that evict as many. Transit is from a chunk's leaving the replica to its arrival. A sample "
    "with events stands between two without: its p99 over the geometric mean of theirs; the median of all. Control: the same "
    "of a sample without events. What is off 1 there is chance, most of it that of a host that lends its cores to others."
)


def measure(seed: int, cache: Path) -> Row:
    """The row; raises `ProcessError` where something does not start, `RuntimeError` where no events were heard."""
    cores = sorted(os.sched_getaffinity(0))
    router, load = str(cores[0]), str(cores[-1])
    tools = compile_tools(cache, (*CFLAGS, f"-DNUM_GPU_BLOCKS={CACHE_BLOCKS}"))
    with tempfile.TemporaryDirectory() as name, Processes(Path(name)) as processes:
        folder = Path(name)
        replica_port, proxy_port, admin_port, events_port, replay_port = free_ports(5)
        file = scenarios.write_bodies(folder, seed, (SCENARIO,))[SCENARIO.bodies]
        processes.start("replica", [str(tools / "replica"), str(replica_port)], cores=load)
        argv = [
            sys.executable,
            "-m",
            "bench.knowledge.publisher",
            str(events_port),
            str(replay_port),
            str(EVENTS_PER_S),
            str(seed),
        ]
        publisher = processes.start("publisher", [*POLITELY, "env", f"PYTHONPATH={ROOT}", *argv], cores=load)
        config = folder / "turnwise.toml"
        config.write_text(
            f'[[replicas]]\nname = "r0"\nurl = "http://127.0.0.1:{replica_port}"\n'
            f'events_endpoint = "tcp://127.0.0.1:{events_port}"\nreplay_endpoint = "tcp://127.0.0.1:{replay_port}"\n'
            f'[server]\nport = {proxy_port}\nadmin_port = {admin_port}\n[log]\nlevel = "warning"\n',
            encoding="utf-8",
        )
        turnwise = str(Path(sys.executable).with_name("turnwise"))
        proxy = processes.start("turnwise", [turnwise, "serve", "--config", str(config)], cores=router)
        wait_until_answering(proxy, proxy_port, scenarios.example())
        _wait_until_heard(admin_port)

        def sample(number: int) -> Load:
            options = {
                "port": proxy_port,
                "bodies": file,
                "connections": STREAMS,
                "seconds": SECONDS,
                "chunks": SCENARIO.num_chunks,
                "spread-us": SCENARIO.spread_us,
                "nonce": number * NONCES_PER_SAMPLE,
            }
            words = [*on_cores(load), str(tools / "load"), *(f"--{key}={value}" for key, value in options.items())]
            done = subprocess.run(words, capture_output=True, check=True, timeout=SECONDS + LOAD_PATIENCE_S)
            return read_load(done.stdout)

        sample(0)
        samples: dict[str, list[Load]] = {QUIET: [], EVENTS: [], CONTROL: []}
        cpu: dict[str, list[float]] = {QUIET: [], EVENTS: [], CONTROL: []}
        for number in range(len(IN_TURN) * ROUNDS + 1):
            what = IN_TURN[number % len(IN_TURN)]
            os.kill(publisher.pid, signal.SIGUSR1 if what == EVENTS else signal.SIGUSR2)
            time.sleep(0.2)  # what was under way has come
            before = cpu_ns(proxy.pid)
            samples[what].append(sample(number + 1))
            cpu[what].append((cpu_ns(proxy.pid) - before) / samples[what][-1].elapsed_s / 1e9)
        replica = httpx.get(f"http://127.0.0.1:{admin_port}/v1/replicas", trust_env=False).json()["replicas"][0]
    if not 0 < replica["cache"]["num_blocks"] <= CACHE_BLOCKS * BLOCKS_SLACK:
        raise RuntimeError(f"{replica['cache']['num_blocks']} blocks are kept, so nothing flowed, or came again unevicted")
    if errors := sum(one.errors for both in samples.values() for one in both):
        raise RuntimeError(f"{errors} streams were not whole")
    return _row(samples, cpu)


def _row(samples: dict[str, list[Load]], cpu: dict[str, list[float]]) -> Row:
    figures: dict[str, float] = {}
    for what in (QUIET, EVENTS):
        figures |= {
            f"{what}: transit p50 us": median(_p(one.transit_p50_us) for one in samples[what]),
            f"{what}: transit p99 us": median(_p(one.transit_p99_us) for one in samples[what]),
            f"{what}: cores": median(cpu[what]),
        }
    quiet = [_p(one.transit_p99_us) for one in samples[QUIET]]
    events, control = ([_p(one.transit_p99_us) for one in samples[what]] for what in (EVENTS, CONTROL))
    figures["control, x quiet"] = median(beside(control, quiet[1:]))
    ratio = median(beside(events, quiet))
    title = f"p99 of a relayed stream with {EVENTS_PER_S * 128:,.0f} blocks a second stored meanwhile"
    return at_most("relaying", title, ratio, BOUND, "x without events", figures, HOW)


def beside(samples: Sequence[float], quiet: Sequence[float]) -> list[float]:
    """Each of `samples` over the geometric mean of its neighbours, which are the next two of `quiet`."""
    return [over_neighbours(*three) for three in zip(samples, quiet[::2], quiet[1::2], strict=False)]


def _p(value: float | None) -> float:
    if value is None:
        raise RuntimeError("the generator measured no stream")
    return value


def _wait_until_heard(admin_port: int) -> None:
    deadline = time.monotonic() + READY_S
    feed = "unknown"
    while time.monotonic() < deadline:
        feed = httpx.get(f"http://127.0.0.1:{admin_port}/v1/replicas", trust_env=False).json()["replicas"][0]["feed"]
        if feed in {"live", "partial"}:
            return
        time.sleep(0.1)
    raise RuntimeError(f"the events are not heard: the feed is {feed}")
