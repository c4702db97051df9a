"""One live program: its record, its conversations, and whether anything of it still goes on."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from turnwise.events import ToolEvent, ToolStep
from turnwise.proxy.programs.lineage import Lineage
from turnwise.proxy.programs.lines import FAILED, FINAL, RUNNING, Line, Node
from turnwise.proxy.programs.record import Record
from turnwise.proxy.programs.sketch import Sketch
from turnwise.proxy.programs.values import Ended, Key, Outcome, Running, Summary, Waiting
from turnwise.turns import ToolCall
from turnwise.types import CallId, Digest

NEVER = float("inf")
OPEN = Outcome.OPEN

MAX_SESSIONS = 16


class Program(msgspec.Struct, eq=False, gc=False):
    """What is known of a program; it outlives its end for a while, so that what goes on from it is told.

    Python's collector looks neither at programs nor at their conversations and calls, which would be most of what it looks at:
    `forget_all` is called before one is let go, and ends the cycles that they are in.
    """

    key: Key
    """What it is known by."""
    record: Record
    lineage: Lineage
    """That of its tenant."""
    trace_id: bytes | None
    """The client's trace that it was born in."""
    owner: int | None = None
    """The sibling worker that opened it, and tells of its end; None is this one."""
    sketch: Sketch = msgspec.field(default_factory=Sketch)
    """What its graph is, or will be made of."""
    lines: tuple[Line, ...] = ()
    waiting: int = 0
    """Tool calls whose results have not come."""
    is_answered: bool = False
    """Whether the call that ended last gave a final answer."""
    outcome: Outcome = OPEN
    successor: Program | None = None
    """The program that went on from this one after its end."""
    looked_at_in: float = NEVER
    """When it is next looked whether its time has come."""
    sessions: tuple[str, ...] = ()
    """Sessions that its calls named beside that of its key, `MAX_SESSIONS` at most."""
    num_ended_calls: int = 0
    """Calls that it had when it ended."""
    _by_agent: dict[str, Line] | None = None

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.outcome is OPEN

    @property
    def is_quiescent(self) -> bool:
        """Whether no call of it runs, and no tool call waits for a result."""
        return not self.record.running and not self.waiting

    def has_begun_as(self, head: Digest | None) -> bool:
        """Whether its first conversation, or one of several calls, began with this head: not a side call alone."""
        return any(line.head == head for line in self.lines if not line.agent or line.num_turns > 1)

    def has_answered(self, head: Digest | None) -> bool:
        """Whether its goal is reached, as a new conversation with this head sees it.

        That takes the final answer of a conversation of several calls, or of one that began with this head: one call of another
        head may be a side call (a title) that was answered before the conversation began which it is made for.
        """
        return self.is_answered and any(
            line.newest is not None and line.newest.state is FINAL and (line.num_turns > 1 or line.head == head)
            for line in self.lines
        )

    def running(self) -> tuple[Running, ...]:
        """Its calls that have not ended: of each conversation those that can be followed, which are the newest."""
        return tuple(
            Running(node.call_id, line.agent, line.name, line.num_turns - len(line.nodes) + place, node.began_at)
            for line in self.lines
            for place, node in enumerate(line.nodes)
            if node.state is RUNNING
        )

    def node(self, call_id: CallId) -> Node | None:
        """The call of this id, if it can still be followed; what is asked for is new, and so among the newest conversations."""
        return next((node for line in reversed(self.lines) for node in line.nodes if node.call_id == call_id), None)

    def told(self, event: ToolEvent) -> bool:
        """The tools gateway tells of a run for one of its calls, which may not have ended; False where that is not known."""
        node = self.node(event.turn)
        if node is None:
            return False
        if event.step is not ToolStep.VOID:
            node.told(event)
        elif (known := node.voided(event.tool_call_id)) is not None:
            ended_at = known.ended_at if known.step is ToolStep.FINISHED else event.told_at
            self.record.voided(known, ended_at, is_expired=event.is_expired)
        return True

    def waits(self) -> Iterator[Waiting]:
        """Its tool calls whose results have not come."""
        for line in self.lines:
            for node in line.nodes:
                yield from node.waiting()

    def line(self, agent: str) -> Line:
        """The conversation of the agent of this name; a new one where it is not known, or nobody named it."""
        known = self._by_agent.get(agent) if agent and self._by_agent is not None else None
        return known or self.new_line(agent)

    def line_numbered(self, number: int, agent: str) -> Line:
        """The conversation of this number, which a sibling worker gave it."""
        known = next((line for line in self.lines if line.agent == number), None)
        return known or self.new_line(agent, number)

    def new_line(self, agent: str, number: int | None = None) -> Line:
        """Begin a conversation, of the agent of this name if it has one."""
        line = Line(self, self.record.num_agents if number is None else number, agent)
        lines = self.lines
        self.lines = (*lines, line) if lines else (line,)
        if agent:
            if self._by_agent is None:
                self._by_agent = {}
            self._by_agent.setdefault(agent, line)
        return line

    def began(self, node: Node, now: float) -> int:
        """A call of it begins; gives its number in its conversation."""
        line = node.line
        number = line.num_turns
        line.num_turns = number + 1
        if number:
            oldest = line.before
            if oldest is not None:
                self.forget(oldest)
            line.before = line.newest
        line.newest = node
        self.record.started(line.agent, now)
        return number

    def answered(self, node: Node, tools: tuple[ToolCall, ...]) -> None:
        """The answer of a call called these tools."""
        if tools and not node.is_continued and node.line.keeps(node):
            self.lineage.answered(node, tools)
            self.waiting += len(tools)

    def stored(self, node: Node, state: str) -> None:
        """The answer of a call is kept elsewhere under this id."""
        if node.line.keeps(node):
            self.lineage.stored(node, state)

    def ended_call(self, node: Node, tools: tuple[ToolCall, ...], stored_as: str) -> None:
        """A call of it has ended: what may follow from its answer."""
        if node.state is not FAILED:
            is_answered = node.state is FINAL
            if self.is_answered is not is_answered:
                self.is_answered = is_answered
            if tools:
                self.answered(node, tools)
            if stored_as:
                self.stored(node, stored_as)

    def close(self, node: Node, tool: ToolCall) -> None:
        """The result of a tool call has come, or will not any more."""
        self.lineage.close(node, tool)
        self.waiting -= 1

    def forget(self, node: Node) -> None:
        """Let a call of it be followed no longer."""
        if node.tools:
            self.waiting -= len(node.tools)
        if node.measured is not None:
            self._put_down(node)
        self.lineage.forget(node)

    def forget_all(self) -> None:
        """Let none of its calls be followed any longer."""
        for line in self.lines:
            for node in line.nodes:
                self.forget(node)
            line.newest = line.before = None
        self.lines = ()
        self._by_agent = None

    def due(self, quiet_s: float, max_age_s: float) -> float:
        """When its time comes, if nothing else happens to it."""
        if self.record.running:
            return NEVER
        # What no replica was tried for is not waited for: whoever asks again soon is told by the prompt.
        is_done = (self.is_answered and not self.waiting) or not self.record.is_placed
        return self.record.active_at + (quiet_s if is_done else max_age_s)

    def ended(self) -> Ended:
        """It, for those who export it; it has ended."""
        for line in self.lines:
            for node in line.nodes:
                if node.measured is not None:
                    self._put_down(node)
        calls = self.record.calls()
        ended_at = max([call.times.ended for call in calls], default=self.key.started_at)
        return Ended(self.key, self.outcome, calls, ended_at, self.record.void_runs)

    def _put_down(self, node: Node) -> None:
        """What ran for a call and no agent has asked for, nobody will."""
        for event in node.unclaimed():
            self.record.voided(event, event.ended_at, is_expired=True)

    def summary(self, now: float) -> Summary:
        """Its row of the list."""
        return self.record.summary(now, self.outcome, self.waiting)
