"""The command line of a benchmark that is a table of rows: measures them, prints them, and renews their part of a paper."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from bench.knowledge.report import Result, markdown
from bench.knowledge.row import Row
from bench.papers import commit, renew
from bench.proxy.measure import machine

Measure = Callable[[int, Path], Row | Sequence[Row]]
"""Measures with a seed, and may keep what it compiles in a cache folder; several rows where one measurement gives them."""


def main(name: str, description: str | None, rows: Mapping[str, Measure], argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was asked for; 1 where a bar does not hold.

    The part of a paper that is renewed stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; raises `ValueError` where
    it has none.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {name.replace('-', '.')}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--row", action="append", choices=rows, help="measure this one; may be given several times")
    parser.add_argument("--cache", type=Path, required=True, help="folder for what is compiled")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--paper", type=Path)
    args = parser.parse_args(argv)
    load_average = os.getloadavg()[0]
    measured: list[Row] = []
    for row in args.row or rows:
        print(f"measuring {row}", file=sys.stderr)
        given = rows[row](args.seed, args.cache)
        measured += [given] if isinstance(given, Row) else given
    where = machine()
    result = Result(
        commit=commit(),
        machine=f"{where['cpu']}, {where['cores']} cores",
        python=f"{platform.python_implementation()} {where['python']}",
        seed=args.seed,
        load_average=load_average,
        rows=measured,
    )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    if args.paper:
        renew(args.paper, f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->\n", markdown(result))
    print(markdown(result))
    return 0 if all(row.holds for row in measured) else 1
