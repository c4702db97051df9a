"""What in a program waited for what, and the chain of calls, tool runs and waits that made it as long as it was."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from turnwise.proxy.programs.causes import Cause, Segment, run_segments, segments
from turnwise.proxy.programs.values import Call, LinkKind, ToolRun


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """A stretch of a program's time with one cause; seconds on the clock of its calls."""

    node: str
    """The call or tool run whose time it is; of a gap, the one that came after it, or empty at the end."""
    cause: Cause
    start: float
    end: float
    detail: str = ""
    is_gap: bool = False
    """Whether nothing known ran: the time between two nodes."""
    is_inferred: bool = False
    """Whether what it waited for is not known, and is taken to be what ended last before it."""


class Node(msgspec.Struct, frozen=True, gc=False):
    """A call, or a run of a tool that a gateway measured."""

    id: str
    start: float
    end: float
    parts: Sequence[Stretch]
    """Its own time, in order and without holes."""


class Before(msgspec.Struct, frozen=True, gc=False):
    """What a node waited for."""

    node: int | None
    """The dependency that ended last; None of one that waited for nothing."""
    gap: tuple[Stretch, ...] = ()
    """What the time from its end to the node's start went to."""
    is_inferred: bool = False


def run_id(run: ToolRun, bringer: Call, position: int) -> str:
    """Name a tool run within its program; `position` tells apart those whose API gives no ids."""
    return f"{run.caller}/{run.id}" if run.id else f"{bringer.call_id}#{position}"


def awaits_tools(call: Call) -> bool:
    """Whether a call's answer asks for tools whose results somebody must bring."""
    return bool(call.tools) and not call.is_final and not call.reason


class Graph:
    """Calls and measured tool runs of one program, and what each of them waited for.

    A dependency that began after its successor is none; one that ended after its successor began counts up to there.
    A call with none is taken to have waited for the node that ended last before it began (a barrier), and says so.
    The runs of tools that nobody measured are no nodes: they explain the gap before the call that brings their result.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        self.nodes = [_call_node(call) for call in calls]
        self.runs: list[tuple[str, ToolRun, int]] = []
        """Every tool run but those that are conversations: its name, and the place of the call that brings its result."""
        self._index = {call.call_id: place for place, call in enumerate(calls)}
        self._dependencies: list[list[tuple[int, LinkKind | None]]] = [[] for _ in calls]
        self._unmeasured: dict[int, list[tuple[str, ToolRun]]] = {}
        self._by_caller: dict[int, tuple[str, ToolRun]] = {}
        for place, call in enumerate(calls):
            self._connect(place, call)
        self._ends = sorted((node.end, node.start, place) for place, node in enumerate(self.nodes))
        self.before = [self._wait(place) for place in range(len(self.nodes))]

    def _connect(self, place: int, call: Call) -> None:
        found = self._dependencies[place]
        for link in call.links:
            other = self._index.get(link.call_id)
            if other is not None and link.program is None:
                self._add(found, place, other, link.kind)
        for position, run in enumerate(call.runs):
            caller = self._index.get(run.caller)
            if caller is not None:
                self._add(found, place, caller, None)
            if run.is_conversation:
                continue
            name = run_id(run, call, position)
            self.runs.append((name, run, place))
            if caller is not None:
                self._by_caller.setdefault(caller, (name, run))
            if run.is_inferred:
                self._unmeasured.setdefault(place, []).append((name, run))
                continue
            measured = len(self.nodes)
            self.nodes.append(_run_node(name, run))
            self._dependencies.append([])
            if caller is not None:
                self._add(self._dependencies[measured], measured, caller, None)
            self._add(found, place, measured, None)

    def _add(self, found: list[tuple[int, LinkKind | None]], place: int, other: int, kind: LinkKind | None) -> None:
        """Note a dependency, unless it began later: a strict order, so that no walk goes in a circle."""
        if (self.nodes[other].start, other) < (self.nodes[place].start, place):
            found.append((other, kind))

    def _wait(self, place: int) -> Before:
        """Find what a node waited for, and explain the time between."""
        node = self.nodes[place]
        known = self._dependencies[place]
        if not known:
            return self._barrier(place, node)
        latest, kind = known[0]
        if len(known) > 1:
            latest, kind = max(known, key=lambda dependency: self._lateness(node, dependency[0]))
        gap_start = self.nodes[latest].end
        if gap_start >= node.start:
            return Before(latest)
        unmeasured = self._unmeasured.get(place)
        if unmeasured is not None:
            name, run = min(unmeasured, key=lambda named: named[1].started_at)
            return Before(latest, _covered(name, run, node, gap_start))
        cause, detail = Cause.CLIENT, ""
        if kind is LinkKind.JOIN:
            cause = Cause.JOIN_WAIT
        elif kind is LinkKind.CONTINUE or kind is LinkKind.REWRITE:
            caller = self.calls[latest]
            if awaits_tools(caller) and latest not in self._by_caller:
                cause, detail = Cause.TOOL_RUN, ", ".join(tool.name for tool in caller.tools)
        return Before(latest, (Stretch(node.id, cause, gap_start, node.start, detail, is_gap=True),))

    def _lateness(self, node: Node, other: int) -> tuple[float, float]:
        found = self.nodes[other]
        return (min(found.end, node.start), found.start)

    def _barrier(self, place: int, node: Node) -> Before:
        """What ended last before a node began of which nothing is known."""
        position = bisect_left(self._ends, (node.start, node.start, place)) - 1
        if position < 0:
            return Before(None)
        gap_start, _, latest = self._ends[position]
        if gap_start >= node.start:
            return Before(latest, is_inferred=True)
        cause, name = Cause.CLIENT, node.id
        if latest < len(self.calls) and awaits_tools(self.calls[latest]):
            cause = Cause.UNATTRIBUTED
            if latest in self._by_caller:
                cause, name = Cause.TOOL_RUN, self._by_caller[latest][0]
        gap = Stretch(name, cause, gap_start, node.start, is_gap=True, is_inferred=True)
        return Before(latest, (gap,), is_inferred=True)

    def path(self, started_at: float) -> list[Stretch]:
        """The critical path from `started_at` to the last end: stretches in order and without holes."""
        if not self._ends:
            return []
        found: list[Stretch] = []
        until, _, place = self._ends[-1]
        while True:
            node, before = self.nodes[place], self.before[place]
            found.extend(_clipped(part, until) for part in reversed(node.parts) if part.start < until)
            found.extend(reversed(before.gap))
            until = min(until, node.start)
            if before.node is None:
                break
            place = before.node
            until = min(until, self.nodes[place].end)
        if started_at < until:
            found.append(Stretch(node.id, Cause.CLIENT, started_at, until, is_gap=True))
        while found and found[-1].start < started_at:
            # A tool whose caller is forgotten may have begun before.
            early = found.pop()
            if early.end > started_at:
                found.append(msgspec.structs.replace(early, start=started_at))
        found.reverse()
        return found

    def barriers(self) -> dict[str, str]:
        """Calls of which nothing says what they waited for, and the nodes that they are taken to have waited for."""
        return {
            self.nodes[place].id: self.nodes[before.node].id
            for place, before in enumerate(self.before)
            if before.is_inferred and before.node is not None
        }

    def slack(self) -> dict[str, float]:
        """How much longer each node could have taken before something waited for it, in seconds; unmeasured runs as well."""
        begins = [self._ends[-1][0]] * len(self.nodes) if self._ends else []
        for place, node in enumerate(self.nodes):
            before = self.before[place]
            if before.is_inferred and before.node is not None:
                begins[before.node] = min(begins[before.node], node.start)
            for other, _ in self._dependencies[place]:
                begins[other] = min(begins[other], node.start)
        slack = {node.id: max(0.0, begin - node.end) for node, begin in zip(self.nodes, begins, strict=True)}
        for place, unmeasured in self._unmeasured.items():
            for name, run in unmeasured:
                slack[name] = max(0.0, self.nodes[place].start - run.ended_at)
        return slack


def _call_node(call: Call) -> Node:
    name = call.call_id
    arrived, ended = call.times.arrived, call.times.ended
    return Node(name, arrived, max(arrived, ended), [_stretch(name, part) for part in segments(call)])


def _run_node(name: str, run: ToolRun) -> Node:
    parts = run_segments(run)
    return Node(name, parts[0].start, parts[-1].end, [_stretch(name, part) for part in parts if part.start < part.end])


def _stretch(name: str, part: Segment) -> Stretch:
    return Stretch(name, part.cause, part.start, part.end, part.detail)


def _covered(name: str, run: ToolRun, node: Node, gap_start: float) -> tuple[Stretch, ...]:
    """Divide the gap before a call that brings a result: the tool's while it may have run, and the client's."""
    start = min(max(run.started_at, gap_start), node.start)
    end = max(min(run.ended_at, node.start), start)
    pieces = (
        Stretch(node.id, Cause.CLIENT, gap_start, start, is_gap=True),
        Stretch(name, Cause.TOOL_RUN, start, end, run.name, is_gap=True),
        Stretch(node.id, Cause.CLIENT, end, node.start, is_gap=True),
    )
    return tuple(piece for piece in pieces if piece.start < piece.end)


def _clipped(part: Stretch, until: float) -> Stretch:
    return part if part.end <= until else msgspec.structs.replace(part, end=until)
