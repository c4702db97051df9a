"""Measures what the tools gateway costs and what it saves. `make bench-tools` runs it.

    python -m bench.tools --cache FOLDER [--row NAME ...] [--json out.json] [--paper docs/benchmarks.md]

TOOL_SERVERS_FOLDER names the folder of the real tool servers. Ends with status 1 where a bar does not hold.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.knowledge.row import Row
from bench.measuring import Measure, main
from bench.tools import Options

NAMES = ("conformance", "cpu", "ftr", "joined", "isolation", "prediction", "fuzz", "guard")
"""Rows, in the order in which they are measured; each is the module of its name."""


def _measure(name: str) -> Measure:
    def measure(seed: int, cache: Path) -> Sequence[Row]:
        folder = os.environ.get("TOOL_SERVERS_FOLDER")
        options = Options(seed=seed, cache=cache, servers=Path(folder) if folder else None)
        rows: Sequence[Row] = importlib.import_module(f"bench.tools.{name}").rows(options)
        return rows

    return measure


if __name__ == "__main__":
    sys.exit(main("bench-tools", __doc__, {name: _measure(name) for name in NAMES}))
