"""What live programs take in memory."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

from bench.knowledge.row import Row, at_most
from bench.programs.live import HOW, NUM_PROGRAMS, Clients

from turnwise.proxy.programs import Programs
from turnwise.proxy.programs.graph import blocks
from turnwise.types import ProgramId

PROGRAM_BYTES, BLOCK_BYTES = 2048, 150


def measure(seed: int, _: Path) -> Row:
    """Bytes of the programs, against 2 KB each and 150 bytes a block."""
    tracemalloc.start()
    try:
        Clients(seed, 1)  # what is loaded and remembered once
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        clients = Clients(seed)
        names = [summary.id for summary in clients.programs.listing(clients.now)]
        num_blocks = sum(_num_blocks(clients.programs, name) for name in names)
        gc.collect()
        num_bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    if len(names) != NUM_PROGRAMS:
        raise RuntimeError(f"{NUM_PROGRAMS} conversations are {len(names)} programs")
    figures = {
        "programs": len(names),
        "bytes a program": num_bytes / len(names),
        "blocks a program": num_blocks / len(names),
        "allowed bytes a program": PROGRAM_BYTES + BLOCK_BYTES * num_blocks / len(names),
    }
    ratio = num_bytes / (PROGRAM_BYTES * len(names) + BLOCK_BYTES * num_blocks)
    return at_most("memory", "memory of 10,000 live programs", ratio, 1.0, "x 2 KB and 150 bytes a block", figures, HOW)


def _num_blocks(programs: Programs, name: ProgramId) -> int:
    graph = programs.graph(name)
    assert graph is not None
    return len(blocks(graph))
