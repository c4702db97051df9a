"""`turnwise programs`: the programs of a running proxy, renewed while somebody looks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from turnwise.admin import showing
from turnwise.admin.listing import Line, Listing
from turnwise.admin.words import age, clean, share, span
from turnwise.proxy.programs.values import Outcome, Summary
from turnwise.proxy.watch.asking import add_admin, admin_url, ask
from turnwise.proxy.watch.words import STATE_STYLES, state, title, tokens
from turnwise.settings import Server

DESCRIPTION = (
    "List the programs that a running proxy knows, live ones and the last that ended: what each is doing, its agents, calls "
    "and tools, its tokens and how many of them came from caches. In a terminal the list is renewed until interrupted."
)
NUM_OTHER_LINES = 4
"""Of the list: its headings and what stands beneath."""

DISPENSABLE = ("quiet", "agents", "prompt", "left", "tool calls", "age")


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
    showing.add_arguments(parser, whose="proxy")


def run(args: argparse.Namespace, server: Server) -> int:
    """Print the programs of the proxy at `args.admin`, else where `server` says; returns 1 where none answers or it refuses."""
    url = admin_url(args.admin, server)
    query = {name: str(value) for name in ("tenant", "session", "state", "limit") if (value := getattr(args, name)) is not None}

    def draw(fitting: int | None) -> RenderableType:
        return shown(_asked(url, query)[: None if "limit" in query else fitting])

    return showing.show(args, lambda: ask(url, "/programs", dict[str, Any], query=query), draw, num_other_lines=NUM_OTHER_LINES)


def shown(programs: Sequence[Summary]) -> RenderableType:
    """A line a program, and how many of them live."""
    if not programs:
        return Text("no program: point an agent's base_url at the proxy, and its calls appear here", "dim")
    live = sum(program.outcome is Outcome.OPEN for program in programs)
    listing = Listing([_line(program) for program in programs], name="program", dispensable=DISPENSABLE, left=("state", "id"))
    return Group(listing, Text(f"\n{live} live, {len(programs) - live} ended; turnwise program ID shows one", "dim"))


def _line(program: Summary) -> Line:
    figures = {heading: Text(figure) for heading, figure in _figures(program).items()}
    doing = state(program)
    return Line({"state": Text(doing, STATE_STYLES.get(doing, "yellow")), "program": Text(title(program)), **figures})


def _figures(program: Summary) -> dict[str, str]:
    """What a line says besides what the program is called and does, by heading."""
    return {
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
