"""One program for the terminal: what it is, its time as a waterfall, where that went, its prompts and who holds them."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from turnwise.admin.words import clean, plural, share, span
from turnwise.events import ToolHow, ToolStep
from turnwise.proxy.admin.program_page import ProgramPage, ToolWait
from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.watch.waterfall import FAILED, ON_PATH, STYLES, Waterfall
from turnwise.proxy.watch.words import STATE_STYLES, began, state, title, tokens

SHARE_CELLS = 24
"""Width of the bar that shows a cause's share of the critical path."""


def shown(page: ProgramPage, *, with_gaps: bool = False) -> RenderableType:
    """The whole report."""
    picture = Waterfall(page.rows, page.ledger.makespan_s, page.ledger.ftr_s, with_gaps=with_gaps)
    parts: list[RenderableType] = [*_head(page), Text("")]
    if page.rows:
        parts += [picture, Legend(page), Text("")]
        if picture.left_out:
            gaps = "1 gap has" if picture.left_out == 1 else f"{picture.left_out} gaps have"
            parts.insert(-1, Text(f"{gaps} no line, being below 1% of the makespan (--gaps)", "dim"))
        parts.append(_causes(page))
    else:
        parts.append(Text("no call of it has ended yet", "dim"))
    return Group(*parts, *_waits(page), *_prompts(page))


class Legend:
    """What colours, or letters, mean; only of the causes that occur."""

    def __init__(self, page: ProgramPage) -> None:
        self._has_failed = any(row.reason for row in page.rows)
        self._causes = [cause for cause in Cause if cause in page.ledger.causes or cause in page.ledger.totals]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del options
        is_plain = console.no_color or console.color_system is None
        line = Text()
        for cause in self._causes:
            letter, style = STYLES[cause]
            line.append(f"{letter.upper()}=" if is_plain else "\N{FULL BLOCK} ", style)
            line.append(f"{_word(cause)}  ", "dim")
        slack = "\N{BOX DRAWINGS LIGHT TRIPLE DASH HORIZONTAL}"
        path = "large letters" if is_plain else "full cells"
        line.append(f"{ON_PATH} and {path}: critical path  {slack} slack", "dim")
        if self._has_failed:
            line.append(f"  {FAILED} failed", "dim")
        yield line


def _head(page: ProgramPage) -> list[Text]:
    program, ledger = page.program, page.ledger
    word = state(program)
    facts = [
        clean(program.model),
        f"session {clean(program.session)}" if program.session else "",
        f"id {program.id}",
        f"trace {program.trace_id}",
    ]
    figures = [
        f"makespan {span(ledger.makespan_s)}",
        f"FTR {'-' if ledger.ftr_s is None else span(ledger.ftr_s)}",
        plural(program.calls, "call") + (f" and {program.running} running" if program.running else ""),
        plural(program.tools, "tool call") + (f", {program.waiting} open" if program.waiting else ""),
        plural(program.agents, "agent"),
        f"{tokens(program.prompt_tokens)} prompt tokens, {share(program.cached_tokens, program.reported_prompt_tokens)} cached",
        f"{tokens(program.completion_tokens)} generated",
    ]
    if ledger.cost is not None:
        figures.append(f"cost {ledger.cost:.4g}")
    return [
        Text.assemble(
            (title(program), "bold"),
            "  ",
            (word, STATE_STYLES.get(word, "yellow")),
            (f"  began {began(program)}", "dim"),
        ),
        Text("  ".join(filter(None, facts)), "dim"),
        Text(" · ".join(figures)),
    ]


def _causes(page: ProgramPage) -> Table:
    """Seconds by cause, on the critical path and in all."""
    ledger = page.ledger
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("cause", no_wrap=True)
    for heading in ("critical path", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("in all", justify="right", no_wrap=True)
    for cause in Cause:
        on_path, in_all = ledger.causes.get(cause, 0.0), ledger.totals.get(cause, 0.0)
        if on_path or in_all:
            part = on_path / ledger.makespan_s if ledger.makespan_s else 0.0
            bar = Text("\N{FULL BLOCK}" * round(SHARE_CELLS * part), STYLES[cause][1])
            table.add_row(_word(cause), span(on_path), share(part, 1), bar, span(in_all))
    table.add_row("", Text(span(ledger.makespan_s), "bold"), "", "", "")
    return table


def _waits(page: ProgramPage) -> list[Text]:
    """Of each tool call whose result has not come, since when, and how long it is expected to take yet."""
    now_s = page.ledger.makespan_s
    lines = []
    for wait in page.waiting:
        left = "" if wait.remaining_s is None else f", about {span(wait.remaining_s)} left ({wait.source})"
        since = span(max(0.0, now_s - wait.since))
        lines.append(Text(f"waiting for {clean(wait.tool)}(): {since}{_standing(wait)}{left}", STATE_STYLES["in tools"]))
    return [Text(""), *lines] if lines else []


def _standing(wait: ToolWait) -> str:
    """How far the run of a tool call has come, where the tools gateway tells."""
    if wait.step is None:
        return ""
    if wait.how is None or wait.how is ToolHow.ASKED:
        return f", {wait.step}"
    if wait.step is ToolStep.FINISHED and wait.claimed_at is None:
        return ", its result is held for the agent"
    return f", {wait.step}, {wait.how}"


def _prompts(page: ProgramPage) -> list[Text]:
    """Of each conversation that goes on, how much of it each replica holds now."""
    lines = []
    for held in page.graph.held:
        who = "main conversation" if held.agent == 0 else f"conversation {held.agent}"
        hits = [f"{clean(name)} {tokens(hit.tokens)} ({hit.source})" for name, hit in held.replicas.items() if hit.tokens]
        lines.append(Text(f"{who}: {tokens(held.prompt_tokens)} tokens, held by {', '.join(hits) or 'nobody'}"))
    return [Text(""), *lines] if lines else []


def _word(cause: Cause) -> str:
    return cause.value.replace("_", " ")
