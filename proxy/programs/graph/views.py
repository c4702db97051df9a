"""A program's graph as it is shown: blocks and lines, made when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable

from turnwise.proxy.programs.graph.blocks import Block, Line, State
from turnwise.proxy.programs.graph.graph import Graph
from turnwise.proxy.programs.graph.retention import retention
from turnwise.proxy.programs.graph.rows import KINDS, STATES, Rows, agent_of, origin_of, turn_of
from turnwise.proxy.programs.values import Call
from turnwise.types import CallId


def blocks(graph: Graph, calls: Iterable[Call] = ()) -> tuple[Block, ...]:
    """The blocks of a graph, those that were seen first before the others; `calls` are those of its program that ended."""
    rows = graph.rows
    names: dict[int, CallId] = {origin_of(call.agent, call.turn): call.call_id for call in calls}
    num_children = [0] * (len(rows) + 1)
    for row in range(len(rows)):
        num_children[rows.parent(row)] += 1
    side = _side_calls(graph)
    shown: list[Block] = []
    first = 0
    for row in range(len(rows)):
        if num_children[row] == 1 and _is_one_block(rows, row):
            continue
        kind, state, origin, parent = KINDS[rows.kind(row)], STATES[rows.state(row)], rows.origin(row), rows.parent(first)
        if graph.is_ended and state is State.LIVE and not rows.is_durable(row):
            state = State.DEAD
        agent = agent_of(origin)
        shown.append(
            Block(
                row,
                kind,
                max(0, rows.end(row) - rows.end(parent)),
                rows.digest(row)[:8].hex(),
                retention(kind, state, rows.hint(row), is_side=agent in side),
                state,
                parent if parent >= 0 else None,
                agent,
                turn_of(origin),
                names.get(origin),
            )
        )
        first = row + 1
    return tuple(shown)


def lines(graph: Graph) -> tuple[Line, ...]:
    """The conversations of a graph by their agent."""
    tips, hints = graph.lines, graph.hinted or {}
    shown = []
    for agent in range(len(tips)):
        hinted, tip = hints.get(agent), tips.tip(agent)
        line = Line(agent, tip if tip >= 0 else None, tips.num_calls(agent), tips.is_running(agent))
        if hinted is not None:
            line = Line(
                line.agent,
                line.tip,
                line.calls,
                line.is_running,
                hinted.priority,
                hinted.output_tokens,
                hinted.speculative_prefill,
                hinted.cache_key,
            )
        shown.append(line)
    return tuple(shown)


def _is_one_block(rows: Rows, row: int) -> bool:
    """Whether a row is one block with the next: a piece of a large message, or one of the parts of a head."""
    following = row + 1
    return (
        rows.goes_on(row)
        and following < len(rows)
        and rows.parent(following) == row
        and rows.origin(following) == rows.origin(row)
        and (rows.kind(following), rows.state(following), rows.hint(following))
        == (rows.kind(row), rows.state(row), rows.hint(row))
    )


def _side_calls(graph: Graph) -> frozenset[int]:
    """Agents that made one call and no more, where another made several: titles, summaries, guards."""
    tips = graph.lines
    calls = [tips.num_calls(agent) for agent in range(len(tips))]
    if max(calls, default=0) < 2:
        return frozenset()
    return frozenset(agent for agent, count in enumerate(calls) if count == 1 and not tips.is_running(agent))
