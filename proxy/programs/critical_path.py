"""What in a program waited for what, and the chain of calls, tool runs and waits that made it as long as it was."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from turnwise.proxy.programs.causes import Cause, Stretch, run_segments, segments
from turnwise.proxy.programs.values import Call, LinkKind, ToolRun


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


class Dependencies:
    """Calls and measured tool runs of one program, its nodes, and what each of them waited for.

    A dependency that began after its successor is none; one that ended after its successor began counts up to there.
    A call with none is taken to have waited for the node that ended last before it began (a barrier), and says so.
    The runs of tools that nobody measured are no nodes: they explain the gap before the call that brings their result.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        self.ids: list[str] = [call.call_id for call in calls]
        self.parts: list[Sequence[Stretch]] = [segments(call) for call in calls]
        """The time of each node, in order and without holes."""
        self.runs: list[tuple[str, ToolRun]] = []
        """Every tool run but those that are conversations, and its name."""
        self._starts = [call.times.arrived for call in calls]
        self._ends = [max(call.times.arrived, call.times.ended) for call in calls]
        self._known: list[list[tuple[int, LinkKind | None]]] = [[] for _ in calls]
        self._unmeasured: dict[int, list[tuple[str, ToolRun]]] = {}
        self._by_caller: dict[int, str] = {}
        self._places: dict[str, int] = {name: place for place, name in enumerate(self.ids)}
        for place, call in enumerate(calls):
            for link in call.links:
                other = self._places.get(link.call_id)
                if other is not None and link.program is None:
                    self._add(place, other, link.kind)
            if call.runs:
                self._add_runs(place, call)
        self._by_end = sorted(zip(self._ends, self._starts, range(len(self.ids)), strict=True))
        self.before = [self._wait(place, known) for place, known in enumerate(self._known)]

    def _add_runs(self, place: int, call: Call) -> None:
        for position, run in enumerate(call.runs):
            caller = self._places.get(run.caller)
            if caller is not None:
                self._add(place, caller, None)
            if run.is_conversation:
                continue
            name = run_id(run, call, position)
            self.runs.append((name, run))
            if caller is not None:
                self._by_caller.setdefault(caller, name)
            if run.is_inferred:
                self._unmeasured.setdefault(place, []).append((name, run))
                continue
            measured = len(self.ids)
            parts = run_segments(name, run)
            self.ids.append(name)
            self.parts.append([part for part in parts if part.start < part.end])
            self._starts.append(parts[0].start)
            self._ends.append(parts[-1].end)
            self._known.append([])
            if caller is not None:
                self._add(measured, caller, None)
            self._add(place, measured, None)

    def _add(self, place: int, other: int, kind: LinkKind | None) -> None:
        """Note a dependency, unless it began later: a strict order, so that no walk goes in a circle."""
        begins, after = self._starts[other], self._starts[place]
        if begins < after or (begins == after and other < place):
            self._known[place].append((other, kind))

    def _wait(self, place: int, known: list[tuple[int, LinkKind | None]]) -> Before:
        """Find what a node waited for, and explain the time between."""
        if not known:
            return self._barrier(place)
        start = self._starts[place]
        latest, kind = known[0]
        for other, other_kind in known[1:]:
            if self._is_later(other, latest, start):
                latest, kind = other, other_kind
        ended = self._ends[latest]
        if ended >= start:
            return Before(latest)
        unmeasured = self._unmeasured.get(place)
        if unmeasured is not None:
            name, run = unmeasured[0] if len(unmeasured) == 1 else min(unmeasured, key=lambda named: named[1].started_at)
            return Before(latest, _covered(self.ids[place], name, run, ended, start))
        cause, detail = Cause.CLIENT, ""
        if kind is LinkKind.JOIN:
            cause = Cause.JOIN_WAIT
        elif (kind is LinkKind.CONTINUE or kind is LinkKind.REWRITE) and latest not in self._by_caller:
            caller = self.calls[latest]
            if awaits_tools(caller):
                cause, detail = Cause.TOOL_RUN, ", ".join(tool.name for tool in caller.tools)
        return Before(latest, (Stretch(self.ids[place], cause, ended, start, detail, is_gap=True),))

    def _is_later(self, one: int, other: int, start: float) -> bool:
        """Whether `one` rather than `other` is what a node that began at `start` waited for."""
        ended, other_ended = min(self._ends[one], start), min(self._ends[other], start)
        return ended > other_ended or (ended == other_ended and self._starts[one] > self._starts[other])

    def _barrier(self, place: int) -> Before:
        """What ended last before a node began of which nothing is known."""
        start = self._starts[place]
        position = bisect_left(self._by_end, (start, start, place)) - 1
        if position < 0:
            return Before(None)
        ended, _, latest = self._by_end[position]
        if ended >= start:
            return Before(latest, is_inferred=True)
        cause, name = Cause.CLIENT, self.ids[place]
        if latest < len(self.calls) and awaits_tools(self.calls[latest]):
            cause = Cause.UNATTRIBUTED
            if latest in self._by_caller:
                cause, name = Cause.TOOL_RUN, self._by_caller[latest]
        return Before(latest, (Stretch(name, cause, ended, start, is_gap=True, is_inferred=True),), is_inferred=True)

    def path(self, started_at: float) -> list[Stretch]:
        """The critical path from `started_at` to the last end: stretches in order and without holes."""
        if not self.ids:
            return []
        found: list[Stretch] = []
        until, _, place = self._by_end[-1]
        while True:
            before, parts = self.before[place], self.parts[place]
            if parts and parts[-1].end > until:
                parts = [_clipped(part, until) for part in parts if part.start < until]
            found.extend(reversed(parts))
            found.extend(reversed(before.gap))
            until = self._starts[place]
            if before.node is None:
                break
            place = before.node
            until = min(until, self._ends[place])
        if started_at < until:
            found.append(Stretch(self.ids[place], Cause.CLIENT, started_at, until, is_gap=True))
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
            self.ids[place]: self.ids[before.node]
            for place, before in enumerate(self.before)
            if before.is_inferred and before.node is not None
        }

    def slack(self) -> dict[str, float]:
        """How much longer each node could have taken before something waited for it, in seconds; unmeasured runs as well."""
        if not self.ids:
            return {}
        begins = [self._by_end[-1][0]] * len(self.ids)
        for place, (start, known) in enumerate(zip(self._starts, self._known, strict=True)):
            before = self.before[place]
            if before.is_inferred and before.node is not None:
                begins[before.node] = min(begins[before.node], start)
            for other, _ in known:
                # What began within another, as a tool while its call is still written, did not wait for its end.
                if place < len(self.calls) or start >= self._ends[other]:
                    begins[other] = min(begins[other], start)
        slack = {}
        for place, unmeasured in self._unmeasured.items():
            for name, run in unmeasured:
                slack[name] = max(0.0, self._starts[place] - run.ended_at)
                caller = self._places.get(run.caller)
                if caller is not None:
                    begins[caller] = min(begins[caller], run.started_at)
        ends = zip(self.ids, begins, self._ends, strict=True)
        slack.update((name, max(0.0, begin - end)) for name, begin, end in ends)
        return slack


def _covered(node: str, name: str, run: ToolRun, ended: float, start: float) -> tuple[Stretch, ...]:
    """Divide the gap before a call that brings a result: the tool's while it may have run, and the client's."""
    since = min(max(run.started_at, ended), start)
    until = max(min(run.ended_at, start), since)
    ran = Stretch(name, Cause.TOOL_RUN, since, until, run.name, is_gap=True)
    if since == ended and until == start:
        return (ran,)
    pieces = (
        Stretch(node, Cause.CLIENT, ended, since, is_gap=True),
        ran,
        Stretch(node, Cause.CLIENT, until, start, is_gap=True),
    )
    return tuple(piece for piece in pieces if piece.start < piece.end)


def _clipped(part: Stretch, until: float) -> Stretch:
    return part if part.end <= until else msgspec.structs.replace(part, end=until)
