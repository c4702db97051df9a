"""A program's graph as it is shown: blocks and lines, made when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable

from turnwise.proxy.programs.graph.blocks import Block, Line, State
from turnwise.proxy.programs.graph.graph import Graph
from turnwise.proxy.programs.graph.retention import retention
from turnwise.proxy.programs.graph.rows import GOES_ON, HINT_MASK, HINT_SHIFT, KIND_MASK, KINDS, STATE_MASK, STATE_SHIFT, STATES
from turnwise.proxy.programs.values import Call
from turnwise.types import CallId


def blocks(graph: Graph, calls: Iterable[Call] = ()) -> tuple[Block, ...]:
    """The blocks of a graph, those that were seen first before the others; `calls` are those of its program that ended."""
    rows = graph.rows
    parents, marks, origins, ends = rows.parents, rows.marks, rows.origins, rows.ends
    count = len(rows)
    names: dict[int, CallId] = {call.agent << 32 | call.turn: call.call_id for call in calls}
    num_children = [0] * count
    for parent in parents:
        if parent >= 0:
            num_children[parent] += 1
    side = _side_calls(graph)
    shown: list[Block] = []
    first = 0
    for row in range(count):
        mark = marks[row]
        is_joined = (
            mark & GOES_ON
            and row + 1 < count
            and parents[row + 1] == row
            and num_children[row] == 1
            and (marks[row + 1] ^ mark) & ~GOES_ON == 0
            and origins[row + 1] == origins[row]
        )
        if is_joined:
            continue
        kind, state = KINDS[mark & KIND_MASK], STATES[(mark & STATE_MASK) >> STATE_SHIFT]
        hint = (mark & HINT_MASK) >> HINT_SHIFT
        if graph.is_ended and state is State.LIVE and not rows.is_durable(row):
            state = State.DEAD
        parent = parents[first]
        agent, turn = origins[row] >> 32, origins[row] & 0xFFFFFFFF
        shown.append(
            Block(
                row,
                kind,
                max(0, ends[row] - (ends[parent] if parent >= 0 else 0)),
                rows.digest(row)[:8].hex(),
                retention(kind, state, hint, is_side=agent in side),
                state,
                parent if parent >= 0 else None,
                agent,
                turn,
                names.get(origins[row]),
            )
        )
        first = row + 1
    return tuple(shown)


def lines(graph: Graph) -> tuple[Line, ...]:
    """The conversations of a graph by their agent."""
    tips = graph.lines
    shown = []
    for agent in range(len(tips)):
        hinted, tip = graph.hinted.get(agent), tips.tip(agent)
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


def _side_calls(graph: Graph) -> frozenset[int]:
    """Agents that made one call and no more, where another made several: titles, summaries, guards."""
    tips = graph.lines
    calls = [tips.num_calls(agent) for agent in range(len(tips))]
    if max(calls, default=0) < 2:
        return frozenset()
    return frozenset(agent for agent, count in enumerate(calls) if count == 1 and not tips.is_running(agent))
