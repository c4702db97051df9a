"""The commands of `turnwise tools`: what each of them loads, it loads when it runs.

The proxy's command line asks for their arguments each time, so a module here imports nothing heavy at its head.
"""

from __future__ import annotations

import argparse
from typing import Protocol

from turnwise.tools_gateway.cli import approve, audit, check, listing, serve, top


class Command(Protocol):
    """A module of one command."""

    HELP: str
    """In a few words, for the list of commands."""
    DESCRIPTION: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what it takes."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit status. Raises `SettingsError`."""


COMMANDS: dict[str, Command] = {"serve": serve, "approve": approve, "list": listing, "check": check, "audit": audit, "top": top}


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Give a parser the commands of the gateway; each sets `run` and `parser`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.HELP, description=command.DESCRIPTION)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run, parser=sub)
