"""The rows of a program's picture: what the terminal, the page and the JSON show of it, made of its calls and their ledger."""

from __future__ import annotations

from collections.abc import Container, Sequence
from enum import StrEnum
from itertools import pairwise
from math import inf

import msgspec

from turnwise.events import ToolHow
from turnwise.proxy.programs.causes import Cause, Stretch, run_segments, segments
from turnwise.proxy.programs.critical_path import run_id
from turnwise.proxy.programs.ledger import RUNNING, Ledger
from turnwise.proxy.programs.values import Call, Running, ToolRun
from turnwise.types import CallId

_NOWHERE = (inf, -inf)


class RowKind(StrEnum):
    """What a row stands for."""

    CALL = "call"
    TOOL = "tool"
    GAP = "gap"
    """A stretch of the critical path in which nothing known ran."""


class Bar(msgspec.Struct, frozen=True, gc=False):
    """A piece of a row with one cause; seconds since the program began."""

    cause: Cause
    start_s: float
    end_s: float
    detail: str = ""
    on_path: bool = False


class RowLink(msgspec.Struct, frozen=True, gc=False):
    """A row before it that had to come first."""

    kind: str
    """One of `LinkKind`, `tool` of a tool run and its caller, `result` of a call and the tool run that it brings, or `barrier`
    where it is only taken to have waited for it."""
    row: str


class Row(msgspec.Struct, frozen=True, gc=False):
    """One line of the picture; seconds since the program began."""

    id: str
    """The call's id, the tool run's name, or `gap-N`."""
    kind: RowKind
    agent: int
    agent_name: str
    label: str
    """The model of a call, the tool of a run, the cause of a gap."""
    start_s: float
    end_s: float
    bars: tuple[Bar, ...]
    """Its time in order; those of a call sum to its length."""
    on_path: bool
    """Whether some of it is on the critical path."""
    slack_s: float | None
    """How much longer it could have taken before anything waited for it; None on the path, of a gap and of a call that runs."""
    links: tuple[RowLink, ...] = ()
    turn: int = 0
    replica: str | None = None
    attempts: int = 1
    reason: str = ""
    """Why the call failed, `failed` of a tool run of which its gateway says so; empty where it did not."""
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    predicted_tokens: int = 0
    completion_tokens: int | None = None
    is_inferred: bool = False
    """Whether its times are not measured: a tool that no gateway ran, a gap before a call whose dependency is not known."""
    is_final: bool = False
    is_running: bool = False
    """Whether the call has not ended; then neither its causes nor its place on the critical path are known."""
    marks: tuple[str, ...] = ()
    """Of a tool run that a gateway measured: `early`, `shared`, `remembered`, `void` or `expired`; `joined` where it had begun
    when it was asked for."""
    saved_s: float = 0.0
    """Of a tool run, what passed while the model still wrote."""
    predicted_s: float | None = None
    """How long the gateway expected a tool to run."""
    claimed_s: float | None = None
    """When the agent asked for a tool run that a gateway measured."""
    held_s: float = 0.0
    """How long the result of a tool run was there before the agent asked for it."""


def waterfall(
    calls: Sequence[Call],
    ledger: Ledger,
    running: Sequence[Running] = (),
    now: float = 0.0,
    voided: Sequence[ToolRun] = (),
) -> tuple[Row, ...]:
    """Make the rows in the order in which they began; `ledger` is the account of these calls, `running` go on at `now`.

    Runs of tools that are `voided` belong to no call that brings their results: they are nothing's reason.

    A tool that is itself a conversation of the program has no row: its time is its calls'.
    """
    runs = {
        run_id(run, call, position): (run, call)
        for call in calls
        for position, run in enumerate(call.runs)
        if not run.is_conversation
    }
    agents = {call.call_id: call for call in calls}
    picture = _Picture(ledger, runs)
    rows = [picture.call_row(call) for call in calls]
    rows += [picture.tool_row(name, run, agents.get(run.caller, bringer)) for name, (run, bringer) in runs.items()]
    rows += [picture.void_row(run, agents.get(run.caller)) for run in voided]
    gaps = [stretch for stretch in ledger.path if stretch.is_gap and stretch.node not in runs]
    rows += [picture.gap_row(number, gap, agents.get(CallId(gap.node))) for number, gap in enumerate(gaps)]
    rows += [picture.running_row(call, now) for call in running]
    return tuple(sorted(rows, key=lambda row: (row.start_s, row.end_s)))


class _Picture:
    """Makes rows; knows which part of a call or tool run is on the critical path."""

    def __init__(self, ledger: Ledger, runs: Container[str]) -> None:
        self._start = ledger.started_at
        self._slack = ledger.slack
        self._barriers = ledger.barriers
        self._on_path: dict[str, tuple[float, float]] = {}
        for stretch in ledger.path:
            if not stretch.is_gap or stretch.node in runs:
                begin, _ = self._on_path.get(stretch.node, (stretch.start, stretch.end))
                self._on_path[stretch.node] = (begin, stretch.end)

    def call_row(self, call: Call) -> Row:
        """The row of a call."""
        name = call.call_id
        links = [RowLink(link.kind.value, link.call_id) for link in call.links if link.program is None]
        links += [
            RowLink("result", run_id(run, call, position)) for position, run in enumerate(call.runs) if not run.is_conversation
        ]
        if name in self._barriers:
            links.append(RowLink("barrier", self._barriers[name]))
        return Row(
            id=name,
            kind=RowKind.CALL,
            agent=call.agent,
            agent_name=call.agent_name,
            label=call.model or "",
            start_s=call.times.arrived - self._start,
            end_s=call.times.ended - self._start,
            bars=self._bars(name, segments(call)),
            on_path=name in self._on_path,
            slack_s=self._slack.get(name),
            links=tuple(links),
            turn=call.turn,
            replica=call.replica,
            attempts=len(call.attempts) + (call.replica is not None),
            reason=call.reason,
            prompt_tokens=call.prompt_tokens,
            cached_tokens=call.cached_tokens,
            predicted_tokens=call.predicted_tokens,
            completion_tokens=call.completion_tokens,
            is_inferred=name in self._barriers,
            is_final=call.is_final,
        )

    def running_row(self, call: Running, now: float) -> Row:
        """The row of a call that has not ended: what its time goes to is not known yet."""
        start_s = call.arrived_at - self._start
        end_s = max(start_s, now - self._start)
        return Row(
            id=call.call_id,
            kind=RowKind.CALL,
            agent=call.agent,
            agent_name=call.agent_name,
            label="",
            start_s=start_s,
            end_s=end_s,
            bars=(Bar(Cause.UNATTRIBUTED, start_s, end_s, RUNNING),),
            on_path=False,
            slack_s=None,
            turn=call.turn,
            attempts=0,
            is_running=True,
        )

    def tool_row(self, name: str, run: ToolRun, owner: Call) -> Row:
        """The row of a tool run, of the agent that called it."""
        parts = run_segments(name, run)
        return Row(
            id=name,
            kind=RowKind.TOOL,
            agent=owner.agent,
            agent_name=owner.agent_name,
            label=run.name,
            start_s=parts[0].start - self._start,
            end_s=parts[-1].end - self._start,
            bars=self._bars(name, parts),
            on_path=name in self._on_path,
            slack_s=self._slack.get(name),
            links=(RowLink("tool", run.caller),),
            reason="" if run.is_ok else "failed",
            is_inferred=run.is_inferred,
            marks=_marks(run),
            saved_s=run.saved_s,
            predicted_s=run.predicted_s,
            claimed_s=None if run.claimed_at is None else run.claimed_at - self._start,
            held_s=run.held_s,
        )

    def void_row(self, run: ToolRun, caller: Call | None) -> Row:
        """The row of a tool run whose result was given to nobody."""
        name = f"{run.caller}/{run.id}/{run.waste}"
        parts = run_segments(name, run)
        return Row(
            id=name,
            kind=RowKind.TOOL,
            agent=0 if caller is None else caller.agent,
            agent_name="" if caller is None else caller.agent_name,
            label=run.name,
            start_s=parts[0].start - self._start,
            end_s=parts[-1].end - self._start,
            bars=self._bars(name, parts),
            on_path=False,
            slack_s=None,
            links=() if caller is None else (RowLink("tool", run.caller),),
            marks=(run.waste,),
            predicted_s=run.predicted_s,
        )

    def gap_row(self, number: int, gap: Stretch, successor: Call | None) -> Row:
        """The row of a stretch of the path that nothing known filled, of the agent that went on after it."""
        start_s, end_s = gap.start - self._start, gap.end - self._start
        return Row(
            id=f"gap-{number}",
            kind=RowKind.GAP,
            agent=0 if successor is None else successor.agent,
            agent_name="" if successor is None else successor.agent_name,
            label=gap.detail or gap.cause.value,
            start_s=start_s,
            end_s=end_s,
            bars=(Bar(gap.cause, start_s, end_s, gap.detail, on_path=True),),
            on_path=True,
            slack_s=None,
            is_inferred=gap.is_inferred,
        )

    def _bars(self, name: str, parts: Sequence[Stretch]) -> tuple[Bar, ...]:
        """Cut the parts of a node where the path enters and leaves it."""
        cuts = self._on_path.get(name, _NOWHERE)
        bars = []
        for part in parts:
            edges = [part.start, *(cut for cut in cuts if part.start < cut < part.end), part.end]
            for start, end in pairwise(edges):
                on_path = cuts[0] <= start and end <= cuts[1]
                bars.append(Bar(part.cause, start - self._start, end - self._start, part.detail, on_path))
        return tuple(bars)


def _marks(run: ToolRun) -> tuple[str, ...]:
    if run.is_inferred:
        return ()
    how = () if run.how is ToolHow.ASKED else (run.how.value,)
    return (*how, "joined") if run.has_joined else how
