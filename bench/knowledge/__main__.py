"""Measures what it costs to know what every replica holds, and how right it is. `make bench-knowledge` runs it.

    python -m bench.knowledge --cache FOLDER [--row NAME ...] [--json out.json] [--paper docs/benchmarks.md]

Ends with status 1 where a bar does not hold.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import msgspec
from bench.knowledge.report import Result, markdown, write_paper
from bench.knowledge.row import Row
from bench.knowledge.rows import ROWS
from bench.papers import commit
from bench.proxy.measure import machine


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--row", action="append", choices=ROWS, help="measure this one; may be given several times")
    parser.add_argument("--cache", type=Path, required=True, help="folder for what is compiled")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--paper", type=Path)
    args = parser.parse_args()
    load_average = os.getloadavg()[0]
    rows: list[Row] = []
    for name in args.row or ROWS:
        print(f"measuring {name}", file=sys.stderr)
        rows.append(ROWS[name](args.seed, args.cache))
    where = machine()
    result = Result(
        commit=commit(),
        machine=f"{where['cpu']}, {where['cores']} cores",
        python=f"{platform.python_implementation()} {where['python']}",
        seed=args.seed,
        load_average=load_average,
        rows=rows,
    )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    if args.paper:
        write_paper(args.paper, result)
    print(markdown(result))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
