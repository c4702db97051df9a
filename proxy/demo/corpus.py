"""The pages that the demo's agents work on: what tools gave in its workload, each with the time that it took to give it.

They are written to a folder, from which the demo's tool server reads them.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import msgspec

from turnwise.proxy.demo.workload import programs

NUM_PAGES = 24
SEED = 0
"""Of the workload that the pages are taken from: the same for every run, so that only the replicas' policy differs."""
INDEX = "index.json"
WORDS_A_LINE = 12


def write(folder: Path) -> None:
    """Write all pages, and how long reading each takes, as it would from a place far away."""
    turns = list(islice((turn for program in programs(NUM_PAGES, SEED) for turn in program.turns), NUM_PAGES))
    for number, turn in enumerate(turns, 1):
        words = turn.result.split()
        lines = [" ".join(words[at : at + WORDS_A_LINE]) for at in range(0, len(words), WORDS_A_LINE)]
        path_of(folder, number).write_text("\n".join(lines) + "\n")
    (folder / INDEX).write_bytes(msgspec.json.encode([round(turn.tool_s, 3) for turn in turns]))


def path_of(folder: Path, number: int) -> Path:
    """Where a page stands; the first is number 1."""
    return folder / f"page-{number:02}.txt"


def seconds(folder: Path) -> list[float]:
    """How long reading each page takes, the first page first."""
    return msgspec.json.decode((folder / INDEX).read_bytes(), type=list[float])
