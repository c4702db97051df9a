"""The session graph: what the prompts and answers of one program consist of, each shared beginning once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from xxhash import xxh3_64_intdigest

from turnwise.dialects.prompt import CHUNK_BYTES
from turnwise.proxy.programs.graph.answered import add_answer, claimed_answer
from turnwise.proxy.programs.graph.blocks import BlockKind, State
from turnwise.proxy.programs.graph.rows import GOES_ON, HEADS, MAX_ROWS, Rows, mark_of, origin_of, said_digest
from turnwise.proxy.programs.graph.tips import Tips
from turnwise.proxy.programs.shape import Hinted
from turnwise.proxy.programs.values import Call
from turnwise.types import Digest, PromptChain, SegmentKind

_MARKS = {
    kind: mark_of(block, goes_on=is_joined)
    for kind, block, is_joined in (
        (SegmentKind.TEMPLATE, BlockKind.SYSTEM, True),
        (SegmentKind.TOOLS, BlockKind.TOOLS, True),
        (SegmentKind.SYSTEM, BlockKind.SYSTEM, True),
        (SegmentKind.USER, BlockKind.USER, False),
        (SegmentKind.ASSISTANT, BlockKind.ASSISTANT, False),
        (SegmentKind.TOOL, BlockKind.TOOL_RESULT, False),
        (SegmentKind.TEXT, BlockKind.USER, True),
        (SegmentKind.TOKENS, BlockKind.USER, True),
        (SegmentKind.OTHER, BlockKind.USER, False),
    )
}
"""What a segment is; those of some kinds are one block with the next one of the kind."""

_BRANCH = mark_of(BlockKind.BRANCH)
_HISTORY = mark_of(BlockKind.HISTORY)
HEAD = frozenset({SegmentKind.TEMPLATE, SegmentKind.TOOLS, SegmentKind.SYSTEM})
"""What stands before the turns, which other programs begin with too."""


class Begun(msgspec.Struct, frozen=True, gc=False):
    """A call that begins, as its graph takes it in: turn `turn` of conversation `agent`."""

    agent: int
    turn: int
    model: str | None
    chain: PromptChain
    kinds: Sequence[SegmentKind]
    """Of the segments that the chain has digests of."""
    hinted: Hinted | None = None
    goes_on: bool = False
    """Whether the prompt goes on from one that the engine keeps."""


class Retired(msgspec.Struct, frozen=True, gc=False):
    """A prompt of which nobody will need what lies behind its first `kept` segments."""

    digests: tuple[Digest, ...]
    kept: int


class Graph:
    """Blocks of one program; a call `begin`s once, and is `settle`d once."""

    __slots__ = ("_idle", "_retired", "_running", "hinted", "is_ended", "is_full", "lines", "rows")

    def __init__(self) -> None:
        self.rows = Rows()
        self.lines = Tips()
        self.hinted: dict[int, Hinted] | None = None
        """What clients hinted last, by agent; None where nothing was."""
        self.is_full = False
        """Whether prompts were left out, as there are `MAX_ROWS`."""
        self.is_ended = False
        self._idle: dict[int, None] | None = None
        """Lines that may have been given up, the one looked at longest ago first."""
        self._retired: tuple[Retired, ...] = ()
        self._running: dict[int, int] | None = None
        """The rows that the prompts of running calls end with, by the call as rows keep it; None where none runs."""

    def begin(self, call: Begun, tokens_per_byte: float) -> int:
        """Take in the prompt of a call; returns the row that it ends with, -1 where there is no room for it."""
        rows, lines, chain, agent, hinted = self.rows, self.lines, call.chain, call.agent, call.hinted
        is_new = agent >= len(lines)
        lines.begun(agent)
        if is_new and agent == 1 and not lines.is_running(0):
            self._idle = {0: None}
        digests: Sequence[bytes] = chain.digests
        tip = lines.tip(agent)
        if call.goes_on and tip >= 0:
            depth, row = 0, tip  # the prompt goes on from one that the engine keeps
            digests = [said_digest(xxh3_64_intdigest(rows.digest(tip) + digest)) for digest in digests]
        else:
            depth, row = rows.known(chain.digests)
            if row >= 0 and depth < len(digests):
                depth, row = claimed_answer(rows, chain, call.kinds, depth, row, tip)
        if not len(rows) and chain.answer is not None:
            digests, ends, marks = _after_history(chain, chain.answer.last, call.kinds)
        else:
            digests, ends, marks = digests[depth:], chain.ends[depth:], _marks(call.kinds, chain.ends, depth)
        if len(rows) + len(digests) >= MAX_ROWS:
            self.is_full = True
            return -1
        if row >= 0:
            rows.hold(row)
        if tip >= 0:
            self._leave(tip, State.SUPERSEDED)
        last = row
        if digests:
            before = row
            origin = origin_of(agent, call.turn)
            if row >= 0 and row != tip and rows.uses(row) > 1 and rows.kind(row) not in HEADS:
                branch = said_digest(xxh3_64_intdigest(rows.digest(row), seed=origin))
                before = rows.extend(row, (branch,), (rows.end(row),), (_BRANCH,), origin)
            base, start = rows.end(row), chain.ends[depth - 1] if depth else 0
            new_ends = [base + int((end - start) * tokens_per_byte) for end in ends]
            last = rows.extend(before, digests, new_ends, marks, origin)
            rows.use(last)
            if row >= 0:
                rows.use(row, -1)
        lines.move(agent, last)
        if hinted is not None:
            self._hint(agent, hinted, last, chain.digests)
        if self._idle:
            self._bury(agent, self._idle)
        if self._running is None:
            self._running = {}
        self._running[origin_of(agent, call.turn)] = last
        return last

    def settle(self, call: Call, tokens_per_byte: float) -> None:
        """Take in what became of a call that began: its lengths, and what was answered; nothing where no replica was tried."""
        agent, origin = call.agent, origin_of(call.agent, call.turn)
        row = -1 if self._running is None else self._running.pop(origin, -1)
        self._running = self._running or None
        if row >= 0 and call.replica is not None:
            self._count(row, origin, call)
            hinted = None if self.hinted is None else self.hinted.get(agent)
            hint = 0 if hinted is None else hinted.retention
            last = add_answer(self.rows, row, origin, call, tokens_per_byte, hint)
            if last != row:
                rows, lines = self.rows, self.lines
                rows.use(last)
                if lines.tip(agent) == row:
                    lines.move(agent, last)
                    rows.use(row, -1)
                else:
                    self._leave(last, State.SUPERSEDED)  # it was asked for again, or its conversation rewritten, meanwhile
        self.lines.settled(agent)
        if len(self.lines) > 1:
            if self._idle is None:
                self._idle = {}
            self._idle[agent] = None

    def close(self, agent: int) -> None:
        """A conversation is over: what it was begun for has been brought home."""
        tip = self.lines.tip(agent)
        if tip >= 0:
            self.lines.move(agent, -1)
            if self._idle is not None:
                self._idle.pop(agent, None)
            self._leave(tip, State.DEAD)

    def end(self) -> None:
        """The program is over: all its blocks but the durable ones are dead."""
        for agent in range(len(self.lines)):
            self.close(agent)
        self.is_ended = True

    @property
    def has_retired(self) -> bool:
        """Whether something was given up since that was last asked for."""
        return bool(self._retired)

    def take_retired(self) -> tuple[Retired, ...]:
        """What was given up since this was last asked for."""
        retired, self._retired = self._retired, ()
        return retired

    def _count(self, row: int, origin: int, call: Call) -> None:
        """Take in how long a prompt is; what placement believed stands only where no engine has counted."""
        rows = self.rows
        is_own = rows.origin(row) == origin
        first = rows.first_of(row) if is_own else row
        if call.completion_tokens is not None and call.prompt_tokens > 0:
            rows.count(first, row, call.prompt_tokens)
            rows.set_counted(row)
        elif call.completion_tokens is None and is_own and not rows.is_counted(row):
            rows.count(first, row, max(call.prompt_tokens, rows.end(rows.parent(first))))

    def _leave(self, row: int, state: State) -> None:
        """A line goes on from elsewhere: what only it used is given up."""
        rows = self.rows
        stop, num_segments = rows.release(row, state), 0
        left = row
        while left != stop:
            num_segments += not rows.is_said(left)
            left = rows.parent(left)
        if num_segments:
            path = rows.path(row)
            self._retired = (*self._retired, Retired(path, len(path) - num_segments))

    def _hint(self, agent: int, hinted: Hinted, last: int, digests: Sequence[Digest]) -> None:
        if self.hinted is None:
            self.hinted = {}
        self.hinted[agent] = hinted
        rows = self.rows
        if hinted.retention:
            origin, row = rows.origin(last), last
            while row >= 0 and rows.origin(row) == origin:
                rows.set_hint(row, hinted.retention)
                row = rows.parent(row)
        for segment, hint in hinted.up_to:
            rows.hint_up_to(rows.find(digests[segment]), hint)

    def _bury(self, agent: int, idle: dict[int, None]) -> None:
        """Look at one idle line: it is dead where this agent's line, from which it parted at a turn, has gone on without it."""
        rows, lines = self.rows, self.lines
        other = next(iter(idle))
        del idle[other]
        tip = lines.tip(other)
        if other == agent or tip < 0 or lines.is_running(other):
            return
        if lines.has_outlived(agent, other):
            row = tip
            while row >= 0 and rows.uses(row) == 1:
                row = rows.parent(row)
            if row < 0 or rows.kind(row) in HEADS:
                return
            own = lines.tip(agent)
            while own > row:
                own = rows.parent(own)
            if own == row:
                lines.move(other, -1)
                self._leave(tip, State.DEAD)
                return
        idle[other] = None


def _after_history(
    chain: PromptChain, last: int, kinds: Sequence[SegmentKind]
) -> tuple[Sequence[Digest], Sequence[int], Sequence[int]]:
    """Digests, ends and marks of a program's first prompt, whose turns up to segment `last` are of another goal: one row.

    A session that is given goal after goal sends all its turns with each of them, and that they were said is all they are here.
    """
    head = 0
    while head < last and kinds[head] in HEAD:
        head += 1
    digests, ends = chain.digests, chain.ends
    return (
        (*digests[:head], *digests[last:]),
        (*ends[:head], *ends[last:]),
        [*_marks(kinds[:head], ends[:head], 0), _HISTORY, *_marks(kinds, ends, last + 1)],
    )


def _marks(kinds: Sequence[SegmentKind], ends: Sequence[int], depth: int) -> list[int]:
    """Marks of the segments from `depth` on; a large message stands in pieces, which are one block."""
    marks = [_MARKS[kind] for kind in kinds[depth:]]
    start = ends[depth - 1] if depth else 0
    for at, end in enumerate(ends[depth:]):
        if end - start == CHUNK_BYTES:
            marks[at] |= GOES_ON
        start = end
    return marks
