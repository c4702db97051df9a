"""`turnwise tools approve`: look at what upstreams say of their tools, and let them be called."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import unified_diff
from typing import TYPE_CHECKING

from turnwise.admin.words import clean, plural
from turnwise.errors import SettingsError
from turnwise.tools_gateway.cli.arguments import add_settings, load_settings, state_dir_of
from turnwise.tools_gateway.cli.listing import NOTHING_KNOWN

if TYPE_CHECKING:
    from turnwise.tools_gateway.registry.pending import Pending
    from turnwise.tools_gateway.settings import UpstreamSettings

HELP = "show definitions of tools that nobody has approved, and approve them"
DESCRIPTION = (
    "Show what upstreams say of their tools beside what was approved before, hidden characters made visible, and approve it. "
    "Name upstreams or tools, or give --all; without either, everything that waits is shown. A gateway that runs sees it "
    "within seconds; it must have run once, for it is the gateway that asks upstreams."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what it takes."""
    add_settings(parser)
    parser.add_argument("names", nargs="*", metavar="UPSTREAM[__TOOL]", help="an upstream, or the public name of a tool")
    parser.add_argument("--all", action="store_true", help="approve everything that waits")
    parser.add_argument("--tenant", default="", help="as this tenant's session sees it, and for this tenant alone")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """Show and approve; returns 1 where nothing was approved that was named, or no tool is known."""
    # Loaded here: the proxy's command line reads this module too, and never needs schemas.
    from turnwise.tools_gateway.registry.pending import approved, pending, unlisted  # noqa: PLC0415 - see above
    from turnwise.tools_gateway.trust.state import StateFolder  # noqa: PLC0415 - see above

    settings = load_settings(args)
    state_dir = state_dir_of(args, settings, "nothing can be approved")
    if args.tenant and args.tenant not in {tenant.name for tenant in settings.tenants}:
        raise SettingsError(f"there is no tenant {args.tenant} in the file")
    folder = StateFolder(state_dir)
    seen = folder.seen()
    if not seen.upstreams:
        print(NOTHING_KNOWN, file=sys.stderr)
        return 1
    waiting = pending(settings, folder.pins(), seen, args.tenant)
    unknown = [name for name in args.names if not any(_is_meant(found, name) for found in waiting)]
    silent = unlisted(settings, seen, args.tenant)
    for name in unknown:
        of = [upstream.name for upstream in silent if _is_of(upstream, name)]
        why = f": {of[0]} has not listed its tools yet" if of else ""
        print(f"nothing of {clean(name)} waits to be approved{why}", file=sys.stderr)
    if silent and not args.names:
        print(f"no list of tools has come yet from {', '.join(upstream.name for upstream in silent)}", file=sys.stderr)
    chosen = [found for found in waiting if not args.names or any(_is_meant(found, name) for name in args.names)]
    for found in chosen:
        print(_shown(found))
    good = [found for found in chosen if not found.fault]
    if not chosen and not unknown:
        print("nothing waits to be approved")
        return 0
    if not args.names and not args.all:
        print(f"{plural(len(good), 'tool')} to approve: name them, or give --all")
        return 0
    if not good or unknown or not (args.yes or _is_agreed(len(good))):
        print("nothing was approved", file=sys.stderr)
        return 1
    # Read again: somebody else may have approved something while this was looked at.
    at = datetime.now(UTC).isoformat(timespec="seconds")
    folder.write_pins(approved(folder.pins(), good, at=at, by=getpass.getuser()))
    print(f"approved {plural(len(good), 'tool')}: {', '.join(found.name for found in good)}")
    return 0


def _is_meant(found: Pending, name: str) -> bool:
    return name in {found.name, found.key.upstream}


def _is_of(upstream: UpstreamSettings, name: str) -> bool:
    prefix = upstream.public_prefix
    return name == upstream.name or (prefix != "" and name.startswith(prefix))


def _is_agreed(number: int) -> bool:
    if not sys.stdin.isatty():
        print("give --yes, or ask from a terminal", file=sys.stderr)
        return False
    return input(f"approve {plural(number, 'tool')}? [y/N] ").strip().lower() in {"y", "yes"}


def _shown(found: Pending) -> str:
    from turnwise.tools_gateway.registry.pending import lines  # noqa: PLC0415 - as in `run`

    head = f"{found.name}: {'new' if found.before is None else 'changed since it was approved'}"
    if found.fault:
        head += f"; it cannot be approved: {clean(found.fault)}"
    return "\n".join([head, *(f"  {line}" for line in _difference(lines(found.before), lines(found.definition))), ""])


def _difference(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Lines of both, `-` and `+` before those of one alone."""
    if not before:
        return [f"+ {line}" for line in after]
    return list(unified_diff(before, after, n=2, lineterm=""))[2:]
