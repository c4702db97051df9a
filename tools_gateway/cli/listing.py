"""`turnwise tools list`: every tool that is known, whether it may be called, and why not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from turnwise.admin.words import clean, plural
from turnwise.tools_gateway.cli.arguments import add_settings, load_settings

if TYPE_CHECKING:
    from turnwise.tools_gateway.values import Marks, Tool

HELP = "list tools with whether they may be called, and why not"
DESCRIPTION = (
    "List the tools of all upstreams as the gateway saw them last, with what the operator's file says of them and whether they "
    "may be called. It asks no upstream and no gateway."
)
PIPED_WIDTH = 4096
"""Cells of a line that no person reads: whoever searches for a name must find it whole."""

NOTHING_KNOWN = "no tool is known yet: `turnwise tools serve` asks upstreams, and keeps what they list in its trust.state_dir"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what it takes."""
    add_settings(parser)
    parser.add_argument("--tenant", default="", help="as this tenant sees them")
    parser.add_argument("--json", action="store_true", help="print the tools as JSON, one a line, with their definitions")


def run(args: argparse.Namespace) -> int:
    """Print the tools."""
    # Loaded here: the proxy's command line reads this module too, and never needs schemas.
    import msgspec  # noqa: PLC0415 - see above

    from turnwise.tools_gateway.registry import ToolRegistry  # noqa: PLC0415 - see above
    from turnwise.tools_gateway.registry.access import EVERY_SCOPE  # noqa: PLC0415 - see above
    from turnwise.tools_gateway.trust.state import StateFolder  # noqa: PLC0415 - see above
    from turnwise.tools_gateway.values import Credential, Principal  # noqa: PLC0415 - see above

    settings = load_settings(args)
    folder = StateFolder(settings.trust.state_dir)
    registry = ToolRegistry(settings, lambda upstream, tenant: Credential(upstream, f"{upstream}@{tenant}"), folder.pins())
    registry.restore(folder.seen())
    tenant = args.tenant or (settings.tenants[0].name if settings.tenants else "")
    tools = registry.known(Principal(tenant, frozenset((EVERY_SCOPE,))))
    if args.json:
        for tool in tools:
            print(msgspec.json.encode(tool).decode())
        for complaint in registry.complaints():
            print(f"turnwise: {clean(complaint)}", file=sys.stderr)
        return 0
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    if tools:
        console.print(_table(tools))
    for complaint in registry.complaints():
        console.print(Text(clean(complaint), "yellow"))
    console.print(Text(_sum(tools, tenant), "dim"))
    return 0


def _table(tools: Sequence[Tool]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("tool", "state", "marks", "why"):
        table.add_column(heading, overflow="fold")
    for tool in tools:
        style = "" if tool.state == "ready" else "yellow"
        table.add_row(Text(clean(tool.name)), Text(tool.state), Text(_marks(tool.marks)), Text(clean(tool.why)), style=style)
    return table


def _marks(marks: Marks) -> str:
    """What the operator says of a tool, in words of the file."""
    said = {
        "early": marks.is_early,
        "read_only": marks.is_read_only,
        "idempotent": marks.is_idempotent,
        "shared": marks.is_shared,
        f"ttl {marks.ttl_s:g} s": marks.ttl_s > 0,
    }
    return ", ".join(word for word, is_so in said.items() if is_so)


def _sum(tools: Sequence[Tool], tenant: str) -> str:
    if not tools:
        return NOTHING_KNOWN
    num_ready = sum(tool.state == "ready" for tool in tools)
    of = f" by {tenant}" if tenant else ""
    return f"{plural(len(tools), 'tool')}, {num_ready} may be called{of}"
