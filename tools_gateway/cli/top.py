"""`turnwise tools top`: the tools of a running gateway, those that take most time first, renewed while somebody looks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from turnwise.admin import showing
from turnwise.admin.asking import Whom, ask, url_of
from turnwise.admin.listing import Line, Listing
from turnwise.admin.words import age, clean, plural, share, span
from turnwise.tools_gateway.cli.arguments import add_settings, load_settings
from turnwise.tools_gateway.export.page import SessionRow, ToolRow, ToolsPage
from turnwise.tools_gateway.values import ToolState

HELP = "show how long the tools of a running gateway take, and what is amiss with them"
DESCRIPTION = (
    "List the tools of a running gateway by the time spent in them: how long they take and by how many runs that is known, "
    "how many end well, what runs now and waits, how many calls met a run that had begun before the agent asked, and what is "
    "amiss. In a terminal the list is renewed until interrupted."
)
GATEWAY = Whom("tools gateway", "is `turnwise tools serve` running, and is this its admin port (--admin, front.admin_port)?")
NUM_OTHER_LINES = 8
"""Of the list: its headings, what is amiss, and the sums."""

DISPENSABLE = ("time", "ok", "p99")
"""Columns that a narrow console has no room for, in the order in which they go."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own flags."""
    parser.add_argument("--admin", metavar="URL", help="the gateway's admin port; as set for `tools serve` by default")
    add_settings(parser)
    parser.add_argument("--upstream", help="only this upstream")
    showing.add_arguments(parser, whose="gateway")


def run(args: argparse.Namespace) -> int:
    """Print the tools of the gateway at `args.admin`, else where it is set; returns 1 where none answers or it refuses."""
    front = load_settings(args).front
    url = args.admin or url_of(front.admin_host, front.admin_port)
    query = {"upstream": args.upstream} if args.upstream else {}
    return showing.show(
        args,
        lambda: _asked(url, query),
        lambda fitting: shown(_asked(url, query), fitting),
        num_other_lines=NUM_OTHER_LINES,
    )


def shown(page: ToolsPage, limit: int | None = None) -> RenderableType:
    """A line a tool, `limit` of them at most, then what is amiss, and the whole in a line."""
    if not page.tools and not page.sessions:
        return Text("no tool: name upstreams in the operator's file, and theirs appear here", "dim")
    tools = sorted(page.tools, key=lambda tool: (-tool.run_s, -tool.calls, tool.name))
    lines = [_line(tool) for tool in tools[:limit]]
    parts: list[RenderableType] = [Listing(lines, name="tool", dispensable=DISPENSABLE)] if lines else []
    amiss = [*_amiss_of_tools(tools), *(_amiss(session) for session in page.sessions if session.state != "up")]
    amiss += [Text(clean(complaint), "yellow") for complaint in page.complaints]
    if amiss:
        parts += [Text(""), *amiss]
    return Group(*parts, Text(f"\n{_sums(page)}", "dim"))


def _line(tool: ToolRow) -> Line:
    figures = {heading: Text(figure, _style(heading, tool)) for heading, figure in _figures(tool).items()}
    return Line({"tool": Text(clean(tool.name)), **figures}, "" if tool.state is ToolState.READY else "yellow")


def _figures(tool: ToolRow) -> dict[str, str]:
    """What a line says besides the tool's name, by heading."""
    is_known = tool.num_samples > 0
    return {
        "p50": span(tool.p50_s) if is_known else "-",
        "p90": span(tool.p90_s) if is_known else "-",
        "p99": span(tool.p99_s) if is_known else "-",
        "runs": f"{tool.num_samples:.0f}",
        "ok": share(tool.success, 1.0) if is_known else "-",
        "now": f"{tool.running}+{tool.queued}" if tool.queued else str(tool.running),
        "early": share(tool.joined, tool.calls),
        "time": span(tool.run_s) if tool.calls else "-",
    }


def _style(heading: str, tool: ToolRow) -> str:
    if heading == "now" and tool.running:
        return "green"
    return "red" if heading == "ok" and tool.num_samples and tool.success < 0.5 else ""


def _amiss_of_tools(tools: Sequence[ToolRow]) -> list[Text]:
    """Tools that may not be called, those of one state, upstream and reason in one line."""
    groups: dict[tuple[str, ToolState, str], list[str]] = {}
    for tool in tools:
        if tool.state is not ToolState.READY:
            groups.setdefault((tool.upstream, tool.state, tool.why), []).append(clean(tool.name))
    return [
        Text(f"{_which(upstream, names)}: {state}{_why(why)}{_remedy(upstream, state)}", "yellow")
        for (upstream, state, why), names in groups.items()
    ]


def _which(upstream: str, names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} tools of {clean(upstream)}"


def _remedy(upstream: str, state: ToolState) -> str:
    """What an operator can do about it."""
    is_to_be_approved = state in {ToolState.QUARANTINED, ToolState.DRIFTED}
    return f"; `turnwise tools approve {clean(upstream)}` shows what there is to approve" if is_to_be_approved else ""


def _amiss(session: SessionRow) -> Text:
    """A session that takes no requests."""
    again = f"; again in {span(session.next_dial_s)}" if session.next_dial_s else ""
    who = f"{clean(session.upstream)} ({clean(session.credential)})"
    return Text(f"{who}: {clean(session.state)}{_why(session.last_fault)}{again}", "red")


def _why(text: str) -> str:
    return f", {clean(text)}" if text else ""


def _sums(page: ToolsPage) -> str:
    """The whole in a line."""
    calls, joined = sum(tool.calls for tool in page.tools), sum(tool.joined for tool in page.tools)
    upstreams = {tool.upstream for tool in page.tools} | {session.upstream for session in page.sessions}
    lost = sum(tool.unclaimed + sum(tool.void.values()) for tool in page.tools)
    said = [
        f"{plural(len(page.tools), 'tool')}, {plural(len(upstreams), 'upstream')}",
        f"{plural(calls, 'call')}, {joined} joined a run under way",
        f"{plural(lost, 'early run')} for nothing",
    ]
    if saved_s := sum(tool.saved_s for tool in page.tools):
        said.append(f"{span(saved_s) if saved_s < 60 else age(saved_s)} saved")
    if page.audit_failures:
        said.append(f"{plural(page.audit_failures, 'record')} of the audit not written")
    return "; ".join(said)


def _asked(url: str, query: dict[str, str]) -> ToolsPage:
    return ask(url, "/tools", ToolsPage, GATEWAY, query=query)
