"""`turnwise programs`: the programs of a running proxy, renewed while somebody looks."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from turnwise.admin.asking import NoAnswer, Refused, complain, write_json
from turnwise.admin.words import age, clean, share, span
from turnwise.proxy.programs.values import Outcome, Summary
from turnwise.proxy.watch.asking import add_admin, admin_url, ask
from turnwise.proxy.watch.words import STATE_STYLES, state, title, tokens
from turnwise.settings import Server

DESCRIPTION = (
    "List the programs that a running proxy knows, live ones and the last that ended: what each is doing, its agents, calls "
    "and tools, its tokens and how many of them came from caches. In a terminal the list is renewed until interrupted."
)
WATCH_S = 1.0

DISPENSABLE = ("quiet", "agents", "prompt", "left", "tool calls", "age")
MIN_NAME = 16
GAP = 2
"""Cells between two columns."""


class ProgramsPage(msgspec.Struct, frozen=True):
    """What `GET /programs` answers."""

    programs: list[Summary]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own flags."""
    add_admin(parser)
    parser.add_argument("--tenant", help="only those of this tenant, as the list's JSON names it")
    parser.add_argument("--session", help="only those of this session")
    parser.add_argument("--state", choices=("live", "ended"), help="only those that live, or that have ended")
    parser.add_argument("--limit", type=int, metavar="N", help="how many at most (default: 100, and what fits while watching)")
    parser.add_argument("--no-color", action="store_true", help="use no colours; so does NO_COLOR in the environment")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print what the proxy says as JSON")
    how.add_argument("--once", action="store_true", help="print the list once")
    how.add_argument("--watch", action="store_true", help=f"print it anew every {WATCH_S:g} s, though this is no terminal")


def run(args: argparse.Namespace, server: Server) -> int:
    """Print the programs of the proxy at `args.admin`, else where `server` says; returns 1 where none answers or it refuses."""
    url = admin_url(args.admin, server)
    query = {name: str(value) for name in ("tenant", "session", "state", "limit") if (value := getattr(args, name)) is not None}
    console = Console(no_color=args.no_color or None)
    try:
        if args.json:
            write_json(ask(url, "/programs", dict[str, Any], query=query))
        elif args.watch or (sys.stdout.isatty() and not args.once):
            _watch(url, query, console)
        else:
            console.print(shown(_asked(url, query)))
    except (NoAnswer, Refused) as error:
        return complain(error)
    return 0


def shown(programs: Sequence[Summary]) -> RenderableType:
    """A line a program, and how many of them live."""
    if not programs:
        return Text("no program: point an agent's base_url at the proxy, and its calls appear here", "dim")
    live = sum(program.outcome is Outcome.OPEN for program in programs)
    return Group(_Listing(programs), Text(f"\n{live} live, {len(programs) - live} ended; turnwise program ID shows one", "dim"))


class _Listing:
    """The table; what a narrow console has no room for is left out, from `DISPENSABLE` in its order."""

    def __init__(self, programs: Sequence[Summary]) -> None:
        self._programs = programs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        rows = [_figures(program) for program in self._programs]
        widths = {heading: max(len(heading), *(len(row[heading]) for row in rows)) for heading in rows[0]}
        for heading in DISPENSABLE:
            if sum(widths.values()) + GAP * (len(widths) + 1) + MIN_NAME <= options.max_width:
                break
            del widths[heading]
        room = max(MIN_NAME, options.max_width - sum(widths.values()) - GAP * len(widths))
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for heading in widths:
            table.add_column(heading, justify="left" if heading in {"state", "id"} else "right", no_wrap=True)
            if heading == "state":
                table.add_column("program", no_wrap=True, overflow="ellipsis", max_width=room)
        for program, row in zip(self._programs, rows, strict=True):
            cells: list[Text | str] = [row[heading] for heading in widths]
            cells[0] = Text(row["state"], STATE_STYLES.get(row["state"], "yellow"))
            cells.insert(1, Text(title(program)))
            table.add_row(*cells)
        yield table


def _figures(program: Summary) -> dict[str, str]:
    """What a line says besides the program's name, by heading."""
    return {
        "state": state(program),
        "id": clean(program.id),
        "agents": str(program.agents),
        "calls": f"{program.calls}+{program.running}" if program.running else str(program.calls),
        "tool calls": f"{program.tools} ({program.waiting} open)" if program.waiting else str(program.tools),
        "left": "" if program.remaining_s is None else span(program.remaining_s),
        "prompt": tokens(program.prompt_tokens),
        "cached": share(program.cached_tokens, program.reported_prompt_tokens),
        "age": age(program.age_s),
        "quiet": age(program.quiet_s),
    }


def _asked(url: str, query: dict[str, str]) -> list[Summary]:
    return ask(url, "/programs", ProgramsPage, query=query).programs


def _watch(url: str, query: dict[str, str], console: Console) -> None:
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            fitting = max(1, console.height - 4) if console.is_terminal and "limit" not in query else None
            live.update(shown(_asked(url, query)[:fitting]), refresh=True)
            time.sleep(WATCH_S)
