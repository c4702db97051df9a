"""Calls that sibling workers serve: what they tell of them, and programs as if these calls had come here.

Any worker may get the next call of a program. So each tells the others of its calls as they begin and end, in hashes and
records, and any of them can tell what a call follows. The worker that opened a program owns it: it alone tells of its end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from turnwise.events import ToolEvent
from turnwise.proxy.programs.dependence import depends
from turnwise.proxy.programs.lineage import Found
from turnwise.proxy.programs.lines import FAILED, Line, Node, State
from turnwise.proxy.programs.population import Population
from turnwise.proxy.programs.program import Program
from turnwise.proxy.programs.record import Record
from turnwise.proxy.programs.values import Call, Key, LinkKind, Outcome, ToolRun
from turnwise.turns import MAX_ID_CHARS, MAX_QUOTES, ToolCall
from turnwise.types import CallId, Digest, ProgramId

MAX_PARTS = 64
"""Tool calls and results of one call that siblings are told of."""

MAX_PARTS_BYTES = 16 * 1024
"""What these may take together: 64 of 250 bytes, which is twice what they have. A datagram holds three such lists."""

MAX_TEXT_BYTES = 4 * MAX_ID_CHARS
"""The longest id or name, in UTF-8."""

ALWAYS_FIT = MAX_PARTS_BYTES // (2 * MAX_TEXT_BYTES + 9 * MAX_QUOTES + 64)
"""So many fit whatever they are: hardly a call has more, and these are not weighed."""

MAX_RUNNING = 65_536
"""Calls of siblings that are taken to run; of more, the one that began longest ago counts as gone."""

_Part = TypeVar("_Part", str, ToolCall, ToolRun)


class Follows(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a call follows."""

    kind: LinkKind
    program: ProgramId
    agent: int
    call_id: CallId
    tool: str


class Began(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=5):
    """A call began at a sibling."""

    key: Key
    client_trace: bytes | None
    """The client's trace that the program was born in."""
    call_id: CallId
    agent: int
    agent_name: str
    session: str
    """As the call named it."""
    began_at: float
    prompt: Digest
    turns: int
    turns_key: int
    is_opening: bool
    follows: Follows | None
    results: tuple[str, ...]
    continues: tuple[str, ...]
    head: Digest | None = None
    """As `Line.head` has it."""


class Finished(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=6):
    """A call ended at a sibling."""

    program: ProgramId
    call: Call
    state: State
    said: int
    tools: tuple[ToolCall, ...]
    """Those of its answer whose results are waited for."""
    stored_as: str


class Over(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=7):
    """A program was ended by what only one worker saw: somebody asked, or the session's next goal came."""

    program: ProgramId
    outcome: Outcome


class Ran(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=8):
    """The tools gateway told a sibling of a run."""

    program: ProgramId
    event: ToolEvent


News = Began | Finished | Over | Ran


def began(
    program: Program, node: Node, found: Found | None, results: tuple[str, ...], continues: tuple[str, ...], session: str
) -> Began:
    """The news of a call that began here."""
    follows = None
    if found is not None:
        other = found.node
        follows = Follows(found.kind, other.line.program.key.id, other.line.agent, other.call_id, found.tool)
    return Began(
        program.key,
        program.trace_id,
        node.call_id,
        node.line.agent,
        node.line.name,
        session,
        node.began_at,
        node.prompt,
        node.turns,
        node.turns_key,
        node.is_opening,
        follows,
        _fitting(results, _text_bytes),
        _fitting(continues, _text_bytes),
        node.line.head,
    )


def finished(program: Program, node: Node, call: Call) -> Finished:
    """The news of a call that ended here."""
    tools, runs = _fitting(call.tools, _tool_bytes), _fitting(call.runs, _run_bytes)
    call = msgspec.structs.replace(call, tools=tools, runs=runs, links=call.links[:MAX_PARTS], shape=None)
    return Finished(program.key.id, call, node.state, node.said, _fitting(node.tools, _tool_bytes), node.stored_as)


def _fitting(parts: tuple[_Part, ...], size: Callable[[_Part], int]) -> tuple[_Part, ...]:
    """The first of these that siblings can be told of: all of them, but where a client or an engine makes no sense."""
    if len(parts) <= ALWAYS_FIT:
        return parts
    num_bytes = 0
    for position, part in enumerate(parts[:MAX_PARTS]):
        num_bytes += size(part)
        if num_bytes > MAX_PARTS_BYTES:
            return parts[:position]
    return parts[:MAX_PARTS]


def _text_bytes(text: str) -> int:
    return len(text.encode()) + 3


def _tool_bytes(tool: ToolCall) -> int:
    return _text_bytes(tool.id) + _text_bytes(tool.name) + 9 * len(tool.quotes) + 13


def _run_bytes(run: ToolRun) -> int:
    return _text_bytes(run.id) + _text_bytes(run.name) + _text_bytes(run.caller) + 73


class _Running(NamedTuple):
    """A call of a sibling that has not ended, as far as was heard."""

    teller: int
    program: Program
    node: Node
    heard_at: float


class Elsewhere:
    """Applies what siblings tell, each known by its number; `close` is told of conversations that are over, `learn` of calls.

    The end of a call may never be heard. One that began `max_age_s` ago counts as gone, so that it holds up no program.
    """

    def __init__(
        self,
        population: Population,
        close: Callable[[Line], None],
        max_age_s: float,
        learn: Callable[[str, Call], None] | None = None,
    ) -> None:
        self._learn = learn
        self._population = population
        self._close = close
        self._max_age_s = max_age_s
        self._running: OrderedDict[CallId, _Running] = OrderedDict()

    def heard(self, news: News, sender: int, now: float) -> None:
        """Take in what one sibling tells."""
        if isinstance(news, Began):
            self._began(news, sender, now)
        elif isinstance(news, Finished):
            self._finished(news)
        elif isinstance(news, Ran):
            program = self._population.get(news.program)
            if program is not None:
                program.told(news.event)
        else:
            program = self._population.get(news.program)
            if program is not None and program.is_live:
                self._population.end(program, news.outcome, now)

    def lost(self, sender: int, heir: int | None) -> None:
        """A sibling is gone: its calls have failed, and `heir` owns its programs; None is this worker."""
        for call_id, running in list(self._running.items()):
            if running.teller == sender:
                del self._running[call_id]
                self._give_up(running)
        for program in self._population.known():
            if program.owner == sender:
                program.owner = heir

    def expire(self, now: float) -> None:
        """Give up calls whose end should have been heard by now."""
        while self._running:
            oldest = next(iter(self._running.values()))
            if oldest.heard_at + self._max_age_s > now:
                break
            self._give_up(self._running.popitem(last=False)[1])

    def _give_up(self, running: _Running) -> None:
        running.node.state = FAILED
        running.program.record.abandoned()
        self._population.settled(running.program)

    def _began(self, news: Began, sender: int, now: float) -> None:
        key = news.key
        tenant = self._population.tenant(key.tenant)
        program = self._population.get(key.id)
        if program is None:
            program = Program(key, Record(key, key.started_at), tenant.lineage, news.client_trace, sender)
            before = None if key.follows is None else self._population.get(key.follows)
            if before is not None and not before.is_live:
                before.successor = program
            self._population.add(tenant, program, now)
        if not program.is_live:
            return
        if news.session:
            tenant.joined(program, news.session)
        line = program.line_numbered(news.agent, news.agent_name)
        line.head = news.head
        found = self._found(news.follows)
        depends(program, found, news.results, news.began_at, self._close)
        node = Node(line, news.call_id, news.began_at, news.began_at, news.prompt, news.is_opening)
        node.turns, node.turns_key = news.turns, news.turns_key
        tenant.lineage.add(node, news.continues)
        if found is not None:
            found.node.followed(found.kind, found.tool, line)
        program.began(node, news.began_at)
        tenant.live.move_to_end(key.id)
        self._running[news.call_id] = _Running(sender, program, node, now)
        if len(self._running) > MAX_RUNNING:
            self._give_up(self._running.popitem(last=False)[1])

    def _finished(self, news: Finished) -> None:
        running = self._running.pop(news.call.call_id, None)
        if running is None:
            return
        program, node = running.program, running.node
        node.said = news.said
        node.state = news.state
        node.ended_at = news.call.times.ended
        program.ended_call(node, news.tools, news.stored_as)
        program.record.ended(news.call)
        if self._learn is not None:
            self._learn(program.key.tenant, news.call)
        self._population.settled(program)

    def _found(self, follows: Follows | None) -> Found | None:
        """What a sibling's call follows, as it is known here; None where it is not."""
        program = None if follows is None else self._population.get(follows.program)
        if follows is None or program is None:
            return None
        line: Line | None = next((line for line in program.lines if line.agent == follows.agent), None)
        nodes = () if line is None else line.nodes
        return next((Found(follows.kind, node, 0, follows.tool) for node in nodes if node.call_id == follows.call_id), None)
