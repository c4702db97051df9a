"""Plays the workloads on real processes, one fleet after another, and shows what came of it."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from turnwise.proxy.admin.program_page import ProgramPage
from turnwise.proxy.demo import fleet, report
from turnwise.proxy.demo.drive import CallRecord, DemoError, Scene, play
from turnwise.proxy.demo.tools import ToolError
from turnwise.proxy.demo.workload import Program, programs
from turnwise.proxy.watch import report as program_report
from turnwise.proxy.watch.asking import ask
from turnwise.proxy.watch.programs import ProgramsPage
from turnwise.settings import PolicyName

FAILURES = (DemoError, ToolError, fleet.FleetError)
"""What may be wrong with the processes that are started, each with a message for people."""
OURS: PolicyName = "kv_aware"
THEIRS: PolicyName = "round_robin"
ASKED, EARLY = "when asked", "while the model writes"
ONE_TOOL = ("page",)
"""What a turn calls where policies are compared."""
SEVERAL_TOOLS = ("search", "page", "count", "page", "note")
"""What a turn calls where tools may begin early: all but the last are marked so."""
TOOLS_SHARE, TOOLS_LIVE = 4, 2
"""There one program in four is played, two at once: a fleet that is busy has other reasons to be slow."""


async def run(args: argparse.Namespace, console: Console) -> int:
    """Play all that `args` ask for and print what came of it; returns 0 where KV-aware routing won on every seed, else 1."""
    results: dict[int, dict[str, report.Summary]] = {}
    shown: list[CallRecord] = []
    with tempfile.TemporaryDirectory(prefix="turnwise-demo-") as name, _progress(console) as progress:
        folder = Path(name)
        async with fleet.gateway(folder) as gateway:
            stage = _Stage(gateway.url, folder, progress)
            for seed in range(args.seed, args.seed + args.seeds):
                workload = programs(args.programs, seed)
                results[seed] = {}
                for policy in (OURS, THEIRS):
                    records = await stage.play(policy, seed, workload, args.live)
                    results[seed][policy] = report.summarize(records)
                    if policy == OURS and not shown:
                        shown = max(records, key=len)
            workload = programs(max(1, args.programs // TOOLS_SHARE), args.seed)
            by_moment = {when: await stage.play_tools(when, args.seed, workload) for when in (ASKED, EARLY)}
    console.print(report.program_tree(shown))
    console.print(report.comparison(results))
    won = report.wins(results, OURS, THEIRS)
    console.print(f"{OURS} had more cached tokens and a shorter mean TTFT on {len(won)} of {len(results)} seeds\n")
    console.print(report.tools_comparison(by_moment))
    console.print(program_report.shown(report.most_joined(by_moment[EARLY][1])))
    console.print(report.advice())
    return 0 if len(won) == len(results) else 1


class _Stage:
    """Plays workloads, each on a fresh fleet beside the one gateway, and shows progress."""

    def __init__(self, tools_url: str, folder: Path, progress: Progress) -> None:
        self._tools_url = tools_url
        self._folder = folder
        self._progress = progress

    async def play(self, policy: PolicyName, seed: int, workload: list[Program], live: int) -> list[list[CallRecord]]:
        """Play with tools that begin when the agents ask."""
        on_call = self._shown(f"seed {seed}  {policy}", workload)
        async with fleet.running(policy, seed, self._folder, socket=None) as proxy:
            return await play(self._scene(proxy, ONE_TOOL, live), workload, on_call)

    async def play_tools(self, when: str, seed: int, workload: list[Program]) -> tuple[report.Summary, list[ProgramPage]]:
        """Play with tools that begin when the agents ask, or earlier; with what the proxy says of each program."""
        on_call = self._shown(f"tools {when}", workload)
        socket = fleet.socket_in(self._folder) if when == EARLY else None
        async with fleet.running(OURS, seed, self._folder, socket) as proxy:
            records = await play(self._scene(proxy, SEVERAL_TOOLS, TOOLS_LIVE), workload, on_call)
            return report.summarize(records), await asyncio.to_thread(_pages, proxy.admin_url)

    def _scene(self, proxy: fleet.Addresses, calls: tuple[str, ...], live: int) -> Scene:
        return Scene(url=proxy.url, model=fleet.MODEL, tools_url=self._tools_url, calls=calls, max_live=live)

    def _shown(self, name: str, workload: list[Program]) -> Callable[[CallRecord], None]:
        total = sum(len(program.turns) for program in workload)
        task = self._progress.add_task(f"{name:<28}", total=total, cached="")
        cached = prompt = 0

        def on_call(record: CallRecord) -> None:
            nonlocal cached, prompt
            cached += record.cached_tokens
            prompt += record.prompt_tokens
            self._progress.update(task, advance=1, cached=f"{cached / prompt:.0%} cached")

        return on_call


def _pages(admin_url: str) -> list[ProgramPage]:
    """What the proxy says of each program."""
    known = ask(admin_url, "/programs", ProgramsPage, query={"limit": "1000"}).programs
    return [ask(admin_url, f"/programs/{program.id}", ProgramPage) for program in known]


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
