"""Measures the block index beside Dynamo's `RadixTree` on one core: look-ups, events, memory. `make bench-index` runs it.

    PYTHONPATH=FOLDER_WITH_DYNAMO python -m bench.index --json out.json --paper docs/benchmarks.md

Ends with status 1 where a bar does not hold. `--render out.json` writes the paper anew from an earlier run.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
from bench.index.memory import measure_memory
from bench.index.report import Origin, Result, bars, markdown, write_paper
from bench.index.timing import time_events, time_lookup
from bench.papers import commit

WORKLOADS = ("sticky", "spread", "all")
NUM_REPLICAS = (8, 64, 256)


def main() -> int:
    """Measure, or take an earlier measurement; print it, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--paper", type=Path)
    parser.add_argument("--render", type=Path)
    args = parser.parse_args()
    result = msgspec.json.decode(args.render.read_bytes(), type=Result) if args.render else measure(args.seed, args.core)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    if args.paper:
        write_paper(args.paper, result)
    print(markdown(result))
    return 0 if all(bar.holds for bar in bars(result)) else 1


def measure(seed: int, core: int) -> Result:
    """One whole run on `core`, a few minutes long."""
    load_average = os.getloadavg()[0]
    os.sched_setaffinity(0, {core})
    lookups = []
    for name in WORKLOADS:
        for num_replicas in NUM_REPLICAS:
            _say(f"look-up, {name}, {num_replicas} replicas")
            lookups.append(time_lookup(name, num_replicas, seed))
    _say("events")
    events = list(time_events(seed))
    _say("memory")
    memory = measure_memory(seed)
    origin = Origin(
        commit=commit(),
        machine=f"{_processor()}, {os.cpu_count()} cores",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        dynamo=version("ai-dynamo-runtime"),
        core=core,
        seed=seed,
        load_average=load_average,
    )
    return Result(origin=origin, lookups=lookups, events=events, memory=memory)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _say(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
