"""What the demo shows: a table of both policies and one of tools, one program's calls as a tree, what to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, quantiles

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from turnwise.events import ToolHow
from turnwise.proxy.admin.program_page import ProgramPage
from turnwise.proxy.demo.drive import CallRecord
from turnwise.proxy.programs.waterfall import RowKind


class Summary(msgspec.Struct, frozen=True):
    """One run of one policy; times in seconds."""

    num_calls: int
    cached_fraction: float
    """Cached prompt tokens over all prompt tokens, as the engines counted them."""
    first_token_mean_s: float
    first_token_p50_s: float
    first_token_p99_s: float
    program_mean_s: float
    tool_wait_mean_s: float
    """From an answer that calls tools to the last of their results."""


def summarize(programs: Sequence[Sequence[CallRecord]]) -> Summary:
    """Reduce the records of one run; every program has at least one call."""
    calls = [call for program in programs for call in program]
    waits = [call.first_token_s for call in calls]
    cuts = quantiles(waits, n=100, method="inclusive")
    return Summary(
        num_calls=len(calls),
        cached_fraction=sum(call.cached_tokens for call in calls) / sum(call.prompt_tokens for call in calls),
        first_token_mean_s=fmean(waits),
        first_token_p50_s=cuts[49],
        first_token_p99_s=cuts[98],
        program_mean_s=fmean(program[-1].ended_s for program in programs),
        tool_wait_mean_s=fmean([call.tool_s for call in calls if call.tools] or [0.0]),
    )


def comparison(results: Mapping[int, Mapping[str, Summary]]) -> Table:
    """Table of all runs, the policies of one seed under each other."""
    table = Table(title="the same programs, two ways to choose a replica", title_justify="left", title_style="bold")
    table.add_column("seed", justify="right")
    table.add_column("policy", no_wrap=True)
    for heading in ("calls", "cached", "TTFT ms mean", "p50", "p99", "program s"):
        table.add_column(heading, justify="right", no_wrap=heading != "TTFT ms mean")
    for seed, by_policy in results.items():
        for policy, summary in by_policy.items():
            table.add_row(
                str(seed),
                policy,
                str(summary.num_calls),
                f"{summary.cached_fraction:.1%}",
                f"{summary.first_token_mean_s * 1000:.0f}",
                f"{summary.first_token_p50_s * 1000:.0f}",
                f"{summary.first_token_p99_s * 1000:.0f}",
                f"{summary.program_mean_s:.2f}",
                end_section=policy == list(by_policy)[-1],
            )
    return table


def tools_comparison(results: Mapping[str, tuple[Summary, Sequence[ProgramPage]]]) -> Table:
    """Table of the same programs by when their tools began."""
    table = Table(title="the same programs, two moments at which tools begin", title_justify="left", title_style="bold")
    table.add_column("tools begin", no_wrap=True)
    for heading in ("tool calls", "begun early", "joined", "wait for tools ms mean", "program s"):
        table.add_column(heading, justify="right")
    for when, (summary, pages) in results.items():
        marks = [row.marks for page in pages for row in page.rows if row.kind is RowKind.TOOL]
        early, joined = (sum(mark in of_run for of_run in marks) for mark in (ToolHow.EARLY, "joined"))
        wait = f"{summary.tool_wait_mean_s * 1000:.0f}"
        table.add_row(when, str(len(marks)), str(early), str(joined), wait, f"{summary.program_mean_s:.2f}")
    return table


def most_joined(pages: Sequence[ProgramPage]) -> ProgramPage:
    """The program of which the largest share of tool runs was joined; of equals the shortest."""

    def share(page: ProgramPage) -> tuple[float, int]:
        marks = [row.marks for row in page.rows if row.kind is RowKind.TOOL]
        return sum("joined" in of_run for of_run in marks) / max(1, len(marks)), -len(page.rows)

    return max(pages, key=share)


def wins(results: Mapping[int, Mapping[str, Summary]], ours: str, theirs: str) -> list[int]:
    """Seeds on which `ours` has both the larger cached fraction and the shorter mean first-token time."""
    return [
        seed
        for seed, run in results.items()
        if run[ours].cached_fraction > run[theirs].cached_fraction
        and run[ours].first_token_mean_s < run[theirs].first_token_mean_s
    ]


def program_tree(records: Sequence[CallRecord]) -> Tree:
    """One program, call by call: where each went and why, what it found there, how long it waited, which tool came after."""
    tree = Tree(f"[bold]{records[0].program}[/]: {len(records)} calls, {records[-1].ended_s:.2f} s")
    for record in records:
        where = record.placement
        share = f"[green]{record.cached_tokens:,}[/] of {record.prompt_tokens:,} tokens cached"
        wait = f"first token {record.first_token_s * 1000:.0f} ms"
        call = tree.add(f"call {record.turn} [cyan]{where.get('replica', '?')}[/]: {share}, {wait}")
        expected = f"expected {where.get('hit_tokens', '?')} cached ({where.get('hit_source', '?')})"
        call.add(f"[dim]{where.get('reason', '?')}: {expected}, cost {where.get('cost_s', '?')} s[/]")
        others = where.get("others", "?").replace(":", " ").replace(",", " s, ")
        call.add(f"[dim]elsewhere: {others} s[/]")
        if record.tools:
            call.add(f"tools {', '.join(record.tools)}: {record.tool_s * 1000:.0f} ms")
    return tree


def advice() -> RenderableType:
    """What to try next."""
    return Group(
        Text("what to try next", style="bold"),
        Text("  turnwise doctor --replica http://HOST:PORT", style="cyan"),
        Text("    what your engines offer, and the flag that is missing"),
        Text("  turnwise serve --replica http://HOST:PORT --replica ...", style="cyan"),
        Text("    then point your agents' base_url at http://127.0.0.1:8080/v1"),
        Text("  curl -s http://127.0.0.1:9080/v1/calls", style="cyan"),
        Text("    why each call went where it went"),
        Text("  turnwise tools serve --config tools.toml", style="cyan"),
        Text("    your MCP servers behind one address: docs/tools.md"),
    )
