"""`turnwise demo`: coding agents on three embedded engines, KV-aware routing beside round-robin, over real HTTP.

Their tools are those of a real MCP server behind the tools gateway. Every run starts a fresh fleet of processes and plays the
same programs, so that only the policy differs, or when tools begin.
"""

from __future__ import annotations

import argparse
import asyncio

from rich.console import Console

DESCRIPTION = (
    "Run coding agents against three embedded engines behind the proxy, once with KV-aware routing and once with round-robin, "
    "and show what each saw; then once with tools that begin when the agents ask, and once while the model writes. "
    "Exits 0 if KV-aware routing won on every seed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `turnwise demo`."""
    parser.add_argument(
        "--seeds", type=_count, default=1, help="how many workloads to play, each under both policies (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first workload's seed (default: 1)")
    parser.add_argument("--programs", type=_count, default=16, help="programs in a workload (default: 16)")
    parser.add_argument("--live", type=_count, default=8, help="programs that run at once (default: 8)")


def _count(text: str) -> int:
    """A whole number from 1; the type of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Play and report; returns 0 where KV-aware routing won on every seed, else 1."""
    # Loaded here: every command reads this module, and `serve` must not load MCP.
    from turnwise.proxy.demo import show  # noqa: PLC0415 - see above

    console = Console()
    status = 1
    try:
        status = asyncio.run(show.run(args, console))
    except* show.FAILURES as group:
        for error in group.exceptions:
            console.print(f"[red]the demo failed:[/] {error}")
    return status
