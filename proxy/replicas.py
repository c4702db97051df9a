"""`turnwise replicas`: what a running proxy knows of each replica, and what is out of the ordinary, with the way out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from turnwise.admin.asking import NoAnswer, Refused, complain, write_json
from turnwise.proxy.watch.asking import add_admin, admin_url, ask
from turnwise.settings import Server

DESCRIPTION = (
    "Ask the admin port of a running proxy what it knows of each replica: health, KV events, blocks, how right its predictions "
    "were, and every state that is out of the ordinary with what it means, what the proxy does and what you can do."
)
WATCH_S = 2.0

FEED_STYLES = {"live": "green", "partial": "yellow", "connecting": "yellow", "stale": "red", "none": "dim"}
MEDIA = {"dram": "DRAM", "disk": "disk"}
HEALTH_STYLES = {"ready": "green", "draining": "yellow", "breaker open": "yellow", "down": "red"}


class _Page(msgspec.Struct, frozen=True):
    replicas: list[dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own flags."""
    add_admin(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print what the proxy says as JSON")
    how.add_argument("--watch", action="store_true", help=f"print it anew every {WATCH_S:g} seconds until interrupted")


def run(args: argparse.Namespace, server: Server) -> int:
    """Print the replicas of the proxy at `args.admin`, else where `server` says; returns 1 where no proxy answers."""
    url = admin_url(args.admin, server)
    try:
        if args.json:
            write_json(asked(url))
        elif args.watch:
            _watch(url)
        else:
            Console().print(shown(asked(url)))
    except (NoAnswer, Refused) as error:
        return complain(error)
    return 0


def asked(url: str) -> list[dict[str, Any]]:
    """What the proxy whose admin port is at `url` says of its replicas; raises `NoAnswer`."""
    return ask(url, "/v1/replicas", _Page).replicas


def shown(replicas: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A table with a row a replica, and below it what is out of the ordinary, each state once with those that are in it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("replica", overflow="fold")
    table.add_column("health", no_wrap=True)
    table.add_column("events", no_wrap=True)
    for heading in ("running", "blocks", "predicted", "trust", "accuracy"):
        table.add_column(heading, justify="right", no_wrap=True)
    for replica in replicas:
        health, feed, cache = _health(replica), replica["feed"], replica["cache"] or {}
        table.add_row(
            replica["name"],
            Text(health, HEALTH_STYLES[health]),
            Text(feed, FEED_STYLES[feed]),
            f"{replica['num_running']:,}",
            f"{cache.get('num_blocks', 0):,}",
            f"{cache.get('num_predicted_tokens', 0):,}",
            _trust(cache),
            _accuracy(cache),
        )
    return Group(table, *_slower(replicas), *_explained(replicas))


def _health(replica: Mapping[str, Any]) -> str:
    if not replica["is_healthy"]:
        return "down"
    if replica["is_draining"]:
        return "draining"
    return "ready" if replica["is_routable"] else "breaker open"


def _trust(cache: Mapping[str, Any]) -> str:
    """The weight of the source that most decisions went by."""
    sources = [source for source in cache.get("loop", ()) if source["num_calls"]]
    return f"{max(sources, key=_num_calls)['weight']:.2f}" if sources else "-"


def _accuracy(cache: Mapping[str, Any]) -> str:
    """One less the share of prompt tokens by which predictions were off."""
    prompt_tokens = sum(source["prompt_tokens"] for source in cache.get("loop", ()))
    error_tokens = sum(source["error_tokens"] for source in cache.get("loop", ()))
    return f"{max(0.0, 1 - error_tokens / prompt_tokens):.1%}" if prompt_tokens else "-"


def _num_calls(source: Mapping[str, Any]) -> int:
    return int(source["num_calls"])


def _slower(replicas: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """A line for each replica and slower medium from which it was seen to bring up blocks."""
    lines: list[RenderableType] = []
    for replica in replicas:
        for medium, seen in replica["transfer"].items():
            if seen["num_calls"]:
                said = f"brings up {seen['tokens_per_s']:,.0f} tokens a second from {MEDIA[medium]}"
                lines.append(Text.assemble((replica["name"], "bold"), f"  {said}", (f"  by {seen['num_calls']} calls", "dim")))
    return [Text(""), *lines] if lines else []


def _explained(replicas: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    states = {state["state"]: state for replica in replicas for state in replica["states"]}
    lines: list[RenderableType] = []
    for name, state in states.items():
        where = ", ".join(replica["name"] for replica in replicas if any(own["state"] == name for own in replica["states"]))
        body = Text.assemble(state["means"], " ", state["does"], "\n", ("→ ", "bold"), state["remedy"])
        lines += [Text(""), Text.assemble((name, "bold yellow"), (f"  {where}", "dim")), Padding(body, (0, 0, 0, 2))]
    return lines


def _watch(url: str) -> None:
    with Live(shown(asked(url)), auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_S)
            live.update(shown(asked(url)), refresh=True)
