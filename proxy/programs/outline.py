"""The order in which a program's rows are read: those of a sub-agent together and further in, below what spawned it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import asdict

from turnwise.proxy.programs.values import LinkKind
from turnwise.proxy.programs.waterfall import Row, RowKind


class OutlineRow(Row, frozen=True, gc=False):
    """A row in its place."""

    depth: int = 0
    """How many sub-agents it is within."""


def outlined(rows: Sequence[Row]) -> tuple[OutlineRow, ...]:
    """Put rows, given in the order in which they began, in the order in which they are read.

    A conversation that a row of another one spawned comes where it began among the rows of that one; any other stands
    among those of the program itself.
    """
    agents: dict[int, list[Row]] = {}
    for row in rows:
        agents.setdefault(row.agent, []).append(row)
    agent_of = {row.id: row.agent for row in rows}
    within: dict[int | None, list[int]] = {}
    for agent, own in agents.items():
        spawner = next((link.row for row in own for link in row.links if link.kind == LinkKind.SPAWN), None)
        parent = None if spawner is None else agent_of.get(spawner)
        # A conversation began after its spawner's; numbers say so too, and keep a walk from going in a circle.
        within.setdefault(None if parent is None or parent >= agent else parent, []).append(agent)
    first = next(iter(agents), None)
    if first is None:
        return ()
    outer = [agent for agent in within.get(None, ()) if agent != first]
    return tuple(OutlineRow(**asdict(row), depth=depth) for row, depth in _walk(first, outer, agents, within, 0))


def _walk(
    agent: int, beside: Sequence[int], agents: dict[int, list[Row]], within: dict[int | None, list[int]], depth: int
) -> Iterator[tuple[Row, int]]:
    """The rows of `agent`, those of the agents that it spawned and those `beside` it where each began."""
    waiting = sorted(
        [(_began(agents[other]), other, depth) for other in beside]
        + [(_began(agents[other]), other, depth + 1) for other in within.get(agent, ())]
    )
    place = 0
    for row in agents[agent]:
        while place < len(waiting) and waiting[place][0] < row.start_s:
            _, other, inner = waiting[place]
            yield from _walk(other, (), agents, within, inner)
            place += 1
        yield row, depth
    for _, other, inner in waiting[place:]:
        yield from _walk(other, (), agents, within, inner)


def _began(rows: Sequence[Row]) -> float:
    """When a conversation began; the gap before it is its first row, and no part of it."""
    return next((row.start_s for row in rows if row.kind is not RowKind.GAP), rows[0].start_s)
