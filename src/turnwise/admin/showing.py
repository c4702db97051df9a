"""What an admin port says, in the terminal: as JSON, drawn once, or drawn anew while somebody looks."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live

from turnwise.admin.asking import NoAnswer, Refused, complain, write_json

WATCH_S = 1.0
"""Pause between two looks."""

Draw = Callable[[int | None], RenderableType]
"""Asks, and draws what is answered: so many lines of its list at most, None for all."""


def add_arguments(parser: argparse.ArgumentParser, *, whose: str) -> None:
    """Let the caller choose how; `whose` says who is asked."""
    parser.add_argument("--no-color", action="store_true", help="use no colours; so does NO_COLOR in the environment")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help=f"print what the {whose} says as JSON")
    how.add_argument("--once", action="store_true", help="print the list once")
    how.add_argument("--watch", action="store_true", help=f"print it anew every {WATCH_S:g} s, though this is no terminal")


def show(args: argparse.Namespace, ask: Callable[[], Any], draw: Draw, *, num_other_lines: int) -> int:
    """Print what `ask` gives as JSON, or what `draw` makes; returns 1 where nobody answers, or it refuses.

    What is drawn anew fits the height of the terminal; beside its list it has `num_other_lines`.
    """
    console = Console(no_color=args.no_color or None)
    try:
        if args.json:
            write_json(ask())
        elif args.watch or (sys.stdout.isatty() and not args.once):
            _watch(console, draw, num_other_lines)
        else:
            console.print(draw(None))
    except (NoAnswer, Refused) as error:
        return complain(error)
    return 0


def _watch(console: Console, draw: Draw, num_other_lines: int) -> None:
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            fitting = max(1, console.height - num_other_lines) if console.is_terminal else None
            live.update(draw(fitting), refresh=True)
            time.sleep(WATCH_S)
