"""`turnwise program ID`: where the time of one program went, as a waterfall; or its end."""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote

from rich.console import Console

from turnwise.admin.asking import NoAnswer, Refused, complain, write_json
from turnwise.admin.words import clean, plural
from turnwise.proxy.admin.program_page import ProgramPage
from turnwise.proxy.programs.values import Summary
from turnwise.proxy.watch import report
from turnwise.proxy.watch.asking import add_admin, admin_url, ask
from turnwise.proxy.watch.programs import ProgramsPage
from turnwise.proxy.watch.words import title
from turnwise.settings import Server

DESCRIPTION = (
    "Show one program of a running proxy: every call, tool and gap in time, coloured by what it went to, the critical path "
    "marked, sub-agents further in; the sums by cause; and which replica holds how much of its prompts now."
)
KNOWN = "1000000"
"""Programs among which an id is looked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own flags."""
    parser.add_argument("id", metavar="ID", help="its id, the beginning of it, or the name that its client gave it")
    add_admin(parser)
    parser.add_argument("--gaps", action="store_true", help="give gaps below 1%% of the makespan a line too")
    parser.add_argument(
        "--no-color", action="store_true", help="use letters and no colours; so does NO_COLOR in the environment"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print what the proxy says as JSON")
    how.add_argument("--end", action="store_true", help="end the program now")


def run(args: argparse.Namespace, server: Server) -> int:
    """Print or end the program `args.id`; returns 1 where no proxy answers or none such is known."""
    if not args.id:
        return complain(Refused("no program has the empty id; `turnwise programs` lists them", 404))
    url = admin_url(args.admin, server)
    try:
        try:
            _do(args, url, args.id)
        except Refused as error:
            if error.status != 404:
                raise
            _do(args, url, _meant(args.id, ask(url, "/programs", ProgramsPage, query={"limit": KNOWN}).programs, error))
    except (NoAnswer, Refused) as error:
        return complain(error)
    return 0


def _do(args: argparse.Namespace, url: str, name: str) -> None:
    path = f"/programs/{quote(name, safe='')}"
    if args.end:
        ended = ask(url, f"{path}/end", dict[str, Any], method="POST")
        Console(no_color=args.no_color or None).print(
            f"{clean(ended['program'])}: {ended['outcome']}, {plural(ended['calls'], 'call')}", markup=False
        )
    elif args.json:
        write_json(ask(url, path, dict[str, Any]))
    else:
        page = ask(url, path, ProgramPage)
        Console(no_color=args.no_color or None).print(report.shown(page, with_gaps=args.gaps))


def _meant(text: str, known: list[Summary], error: Refused) -> str:
    """The one program whose id begins with `text`; raises `Refused` naming the closest where there is not one."""
    begun = [program for program in known if program.id.startswith(text)]
    if len(begun) == 1:
        return begun[0].id
    if begun:
        some = ", ".join(f"{program.id} ({title(program)})" for program in begun[:5])
        raise Refused(f"several programs begin with `{clean(text)}`: {some}", 404)
    names = {name: program for program in known for name in (program.id, program.name, program.session) if name}
    close = get_close_matches(text, names, n=3)
    if not close:
        raise Refused(f"{error}; `turnwise programs` lists them", 404)
    some = ", ".join(dict.fromkeys(f"{names[name].id} ({title(names[name])})" for name in close))
    raise Refused(f"{error}; did you mean {some}?", 404)
