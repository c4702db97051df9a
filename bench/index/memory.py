"""Memory of a million blocks with one holder, each case in a process that does nothing else."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from array import array
from pathlib import Path
from random import Random

import msgspec
from bench.index.sides import Dynamo, Side, Turnwise
from bench.index.workloads import EVENT_BLOCKS, HASH_BITS, SESSION_BLOCKS, stored

NUM_BLOCKS = 1_000_000
EVENT_SIZES = {"chunks": EVENT_BLOCKS, "singles": 1}
"""Blocks of an event: a prefill's, and a decode's."""


class Memory(msgspec.Struct, frozen=True):
    """Growth of resident memory a block, in bytes, and of what ours consists."""

    case: str
    bytes_per_block: dict[str, float]
    parts: dict[str, float]


def measure_memory(seed: int) -> list[Memory]:
    """Every case on both sides."""
    return [_case(case, seed) for case in EVENT_SIZES]


def _case(case: str, seed: int) -> Memory:
    found = {}
    for side in ("turnwise", "dynamo"):
        command = [sys.executable, "-m", "bench.index.memory", side, case, str(seed)]
        found[side] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    totals = {side: parts.pop("all") for side, parts in found.items()}
    return Memory(case=case, bytes_per_block=totals, parts=found["turnwise"])


def fill(name: str, case: str, seed: int) -> dict[str, float]:
    """Store a million blocks in sessions on one replica; returns bytes a block by part, `all` among them."""
    side: Side = Turnwise(1) if name == "turnwise" else Dynamo()
    rng = Random(seed)
    sessions = [
        array("Q", (rng.getrandbits(HASH_BITS) for _ in range(min(SESSION_BLOCKS, NUM_BLOCKS - start))))
        for start in range(0, NUM_BLOCKS, SESSION_BLOCKS)
    ]
    before = _resident_bytes()
    for session in sessions:
        # Each event's ints are objects of its own, as a decoder makes them.
        side.apply((step.replica, side.prepare(step)) for step in stored(0, session, EVENT_SIZES[case]))
    parts = {"all": (_resident_bytes() - before) / NUM_BLOCKS}
    if isinstance(side, Turnwise):
        runs = side.domain.index._runs  # noqa: SLF001 - of what it consists
        parts["dict"] = sys.getsizeof(runs.values) / NUM_BLOCKS
        parts["keys"] = sum(map(sys.getsizeof, runs.values)) / NUM_BLOCKS
        parts["order of blocks"] = sum(sys.getsizeof(run.blocks) for run in runs._runs.values()) / NUM_BLOCKS  # noqa: SLF001
        parts["runs, holders, allocator"] = 2 * parts["all"] - sum(parts.values())
    return parts


def _resident_bytes() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(fill(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
