"""`turnwise demo`: coding agents on three embedded engines, KV-aware routing beside round-robin, over real HTTP.

Every run starts a fresh fleet of processes and plays the same programs, so that only the policy differs.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from turnwise.proxy.demo import fleet, report
from turnwise.proxy.demo.drive import CallRecord, DemoError, play
from turnwise.proxy.demo.workload import Program, programs
from turnwise.settings import PolicyName

DESCRIPTION = (
    "Run coding agents against three embedded engines behind the proxy, once with KV-aware routing and once with round-robin, "
    "and show what each saw. Exits 0 if KV-aware routing won on every seed."
)
OURS: PolicyName = "kv_aware"
THEIRS: PolicyName = "round_robin"


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
    console = Console()
    status = 1
    try:
        status = asyncio.run(_run(args, console))
    except* (DemoError, fleet.FleetError) as group:
        for error in group.exceptions:
            console.print(f"[red]the demo failed:[/] {error}")
    return status


async def _run(args: argparse.Namespace, console: Console) -> int:
    results: dict[int, dict[str, report.Summary]] = {}
    shown: list[CallRecord] = []
    with tempfile.TemporaryDirectory(prefix="turnwise-demo-") as logs, _progress(console) as progress:
        for seed in range(args.seed, args.seed + args.seeds):
            workload = programs(args.programs, seed)
            results[seed] = {}
            for policy in (OURS, THEIRS):
                records = await _play(policy, seed, workload, args.live, Path(logs), progress)
                results[seed][policy] = report.summarize(records)
                if policy == OURS and not shown:
                    shown = max(records, key=len)
    console.print(report.program_tree(shown))
    console.print(report.comparison(results))
    won = report.wins(results, OURS, THEIRS)
    console.print(f"{OURS} had more cached tokens and a shorter mean TTFT on {len(won)} of {len(results)} seeds\n")
    console.print(report.advice())
    return 0 if len(won) == len(results) else 1


async def _play(
    policy: PolicyName, seed: int, workload: list[Program], live: int, logs: Path, progress: Progress
) -> list[list[CallRecord]]:
    """Play one workload on a fresh fleet, showing progress."""
    total = sum(len(program.turns) for program in workload)
    task = progress.add_task(f"seed {seed}  {policy:<11}", total=total, cached="")
    cached = prompt = 0

    def on_call(record: CallRecord) -> None:
        nonlocal cached, prompt
        cached += record.cached_tokens
        prompt += record.prompt_tokens
        progress.update(task, advance=1, cached=f"{cached / prompt:.0%} cached")

    async with fleet.running(policy, seed, logs) as url:
        return await play(url, fleet.MODEL, workload, max_live=live, on_call=on_call)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("calls"),
        TextColumn("{task.fields[cached]}"),
        TimeElapsedColumn(),
        console=console,
    )
