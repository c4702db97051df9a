"""What a call depends on within its program: the calls before it, and the tools whose results it brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from turnwise.events import ToolStep
from turnwise.proxy.programs.lineage import Found
from turnwise.proxy.programs.lines import Line, Node, is_unclaimed
from turnwise.proxy.programs.program import Program
from turnwise.proxy.programs.values import Link, LinkKind, ToolRun
from turnwise.turns import ToolCall

NOTHING: tuple[tuple[Link, ...], tuple[ToolRun, ...]] = ((), ())
"""What a call depends on that follows none and brings no results."""

FOLLOWS = frozenset({LinkKind.CONTINUE, LinkKind.REWRITE})
"""How a call goes on with the turns of another."""


def depends(
    program: Program, found: Found | None, results: Sequence[str], now: float, close: Callable[[Line], None]
) -> tuple[tuple[Link, ...], tuple[ToolRun, ...]]:
    """What a call of this program depends on: links to calls before it, and the runs of the tools whose results it brings.

    `close` is told of conversations whose result it brings. Each result is taken once: of two calls that bring it, the first
    one waited for the tool.
    """
    links: tuple[Link, ...] = ()
    parent = None
    if found is not None:
        kind, node = found.kind, found.node
        links = (_link(kind, node, program),)
        if node.tools and kind in FOLLOWS:
            parent = node
    runs: tuple[ToolRun, ...] = ()
    for result in results:
        caller = parent
        tool = None if caller is None else _tool(caller, result)
        if tool is None:
            caller = program.lineage.caller(result)
            tool = None if caller is None else _tool(caller, result)
        if caller is None or tool is None:
            continue
        spawned = () if caller.spawned is None else caller.spawned.get(result, ())
        for line in spawned:
            if line.newest is not None:
                links = (*links, _link(LinkKind.JOIN, line.newest, program))
            close(line)
        if caller.line.program is program:
            runs = (*runs, _run(caller, tool, now, is_conversation=bool(spawned)))
        caller.line.program.close(caller, tool)
    return links, runs


def _link(kind: LinkKind, node: Node, program: Program) -> Link:
    other = node.line.program
    if other is program:
        return Link(kind, node.call_id, None, None)
    return Link(kind, node.call_id, other.key.id, other.key.trace_id)


def _tool(node: Node, tool_call_id: str) -> ToolCall | None:
    if tool_call_id:
        for tool in node.tools:
            if tool.id == tool_call_id:
                return tool
    return None


def _run(caller: Node, tool: ToolCall, now: float, *, is_conversation: bool) -> ToolRun:
    """The run of a tool whose result comes `now`; one told to have been at another time altogether is inferred.

    So is one that the agent has not asked its gateway for: it has run the tool itself.
    """
    told = None if caller.measured is None else caller.measured.get(tool.id)
    called_at = caller.ended_at
    # The tools gateway shares our clock, and may begin while the answer is written.
    earliest = caller.began_at if told is not None and told.turn else called_at
    is_of_use = told is not None and told.step is ToolStep.FINISHED and not is_unclaimed(told)
    if told is None or not is_of_use or told.ended_at < earliest or told.queued_at > now:
        return ToolRun(
            tool.id, tool.name, caller.call_id, called_at, now, is_conversation=is_conversation, num_bytes=tool.num_bytes
        )
    # Whoever else measured it has another clock: what does not fit between the two calls is cut off.
    queued_at, started_at, ended_at = (
        min(max(moment, earliest), now) for moment in (told.queued_at, told.started_at, told.ended_at)
    )
    return ToolRun(
        tool.id,
        tool.name,
        caller.call_id,
        started_at,
        ended_at,
        queued_at,
        is_inferred=False,
        is_conversation=is_conversation,
        is_ok=told.ok,
        how=told.how,
        claimed_at=told.claimed_at,
        predicted_s=told.predicted_s,
        saved_s=max(0.0, min(ended_at, called_at) - started_at),
        num_bytes=tool.num_bytes,
    )
