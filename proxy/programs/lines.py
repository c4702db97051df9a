"""Conversations: their calls as later calls may be told to follow them, in hashes and without any text."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from turnwise.events import ToolEvent, ToolStep
from turnwise.proxy.programs.values import LinkKind, Waiting
from turnwise.turns import ToolCall
from turnwise.types import CallId, Digest

if TYPE_CHECKING:
    from turnwise.proxy.programs.program import Program

BEGUN = frozenset({ToolStep.STARTED, ToolStep.PROGRESSED, ToolStep.FINISHED})
"""Steps from which on a run has begun."""

MAX_TOLD = 128
"""Tool calls of one answer whose runs are kept as told."""


def is_unclaimed(event: ToolEvent) -> bool:
    """Whether the tools gateway has a result that it has given to nobody."""
    return bool(event.turn) and event.step is ToolStep.FINISHED and event.claimed_at is None


class State(IntEnum):
    """How far a call has come."""

    RUNNING = 0
    ANSWERED = 1
    """Something goes on from its answer: it called tools, or is an agent that calls them in text."""
    FINAL = 2
    """Its answer ended a goal, as far as can be told."""
    FAILED = 3
    """It failed, or its client left."""


RUNNING, ANSWERED, FINAL, FAILED = State
"""They are asked for several times a call, and to look a member up in its enumeration takes as long as 50 names."""

SPAWN, RETRY = LinkKind.SPAWN, LinkKind.RETRY


class Node(msgspec.Struct, eq=False, gc=False):
    """One call, to be followed; it equals itself alone. The cycle that it is in ends with `Program.forget_all`."""

    line: Line
    call_id: CallId
    began_at: float
    ended_at: float
    prompt: Digest
    """Digest of its whole prompt."""
    is_opening: bool
    """Whether it follows nothing that is known: many conversations may begin with the same words."""
    turns: int = 0
    """Hash of its prompt behind the head: the same under another system prompt, other tools, another model."""
    turns_key: int = 0
    """Hash of those turns up to the last answer, or of all where it is an opening; 0 where it is not looked for."""
    said: int = 0
    """Hash of what its answer says; 0 where that is not known."""
    state: State = RUNNING
    tools: tuple[ToolCall, ...] = ()
    """Tool calls of its answer whose results have not come."""
    spawned: dict[str, list[Line]] | None = None
    """Conversations that these began, by id of the tool call."""
    measured: dict[str, ToolEvent] | None = None
    """What a gateway told of them, by id; of those too that the answer still writes."""
    stored_as: str = ""
    """Id of state that is kept elsewhere, by which a call may say that it goes on from this one."""
    is_continued: bool = False

    def followed(self, kind: LinkKind, tool_call_id: str, line: Line) -> None:
        """A call follows this one, in conversation `line`; where a tool call began that, it is the one of this id."""
        if kind is not SPAWN:
            self.is_continued = True
            program = self.line.program
            if self.tools:
                for tool in self.tools:  # what results it waits for have come, or never will
                    program.close(self, tool)
            if self.turns_key:
                program.lineage.superseded(self)
            return
        if self.spawned is None:
            self.spawned = {}
        self.spawned.setdefault(tool_call_id, []).append(line)

    def told(self, event: ToolEvent) -> None:
        """A gateway tells of a run of one of its tool calls; of `MAX_TOLD` of them it is kept."""
        if self.measured is None:
            self.measured = {}
        if len(self.measured) < MAX_TOLD or event.tool_call_id in self.measured:
            self.measured[event.tool_call_id] = event

    def voided(self, tool_call_id: str) -> ToolEvent | None:
        """Nothing of a tool call may be used; what was last told of its run, None where that had not begun."""
        known = None if self.measured is None else self.measured.pop(tool_call_id, None)
        return known if known is not None and known.step in BEGUN else None

    def unclaimed(self) -> list[ToolEvent]:
        """Take what a gateway told of runs that have ended and that no agent asked for."""
        if self.measured is None:
            return []
        found = [event for event in self.measured.values() if is_unclaimed(event)]
        for event in found:
            del self.measured[event.tool_call_id]
        return found

    def waiting(self) -> Iterator[Waiting]:
        """Its tool calls whose results have not come, those that a gateway was told of before the answer's end included."""
        measured = self.measured or {}
        for tool in self.tools:
            yield Waiting(tool.id, tool.name, self.line.agent, tool.num_bytes, self.ended_at, measured.get(tool.id))
        if self.state is RUNNING:
            for event in measured.values():
                yield Waiting(event.tool_call_id, event.tool, self.line.agent, 0, event.told_at, event)


class Line(msgspec.Struct, eq=False, gc=False):
    """One conversation of a program: an agent, a sub-agent, a side call, or a branch of one.

    Two of its calls can be followed: that which goes on, and the one before, of which another may be tried. Each takes half a
    kilobyte as long as it can.
    """

    program: Program
    agent: int
    name: str
    head: Digest | None = None
    """What its first prompt began with before anybody said anything, where its client named a session."""
    num_turns: int = 0
    newest: Node | None = None
    """Its last call, and the one before: those that can be followed."""
    before: Node | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Its calls that can be followed, the newest last."""
        if self.newest is None:
            return ()
        return (self.newest,) if self.before is None else (self.before, self.newest)

    def keeps(self, node: Node) -> bool:
        """Whether a call of it can be followed."""
        return node is self.newest or node is self.before
