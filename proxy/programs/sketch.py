"""What the graph of one program will be made of, for as long as nobody has to look at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from turnwise.proxy.programs.graph import HEAD, Begun, Graph, Retired
from turnwise.proxy.programs.graph.rows import DIGEST_BYTES, DURABLE_HINT, SESSION_HINT
from turnwise.proxy.programs.record import Record
from turnwise.proxy.programs.shape import Hinted
from turnwise.proxy.programs.values import Call
from turnwise.types import Digest, LastAnswer, PromptChain, SegmentKind

if TYPE_CHECKING:
    from turnwise.proxy.programs.turn import Turn

Step = Begun | Call | int
"""A call begins, or has ended; or the conversation of an agent of this number is over."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, ...])


class Sketch(msgspec.Struct, eq=False, gc=False):
    """Its newest prompt while it is one conversation that grows, of which each call begins when the one before has ended.

    Then nothing of it can have been given up before its end, and all else that its graph is made of stands in the records of
    its calls. Once it is more than that it is drawn: the graph takes in those calls, and what comes after.
    """

    graph: Graph | None = None
    """None until it is drawn."""
    is_ended: bool = False
    _running: Turn | None = None
    """The call that runs, until it is drawn."""
    _agent: int = 0
    _packed: bytes = b""
    """Digests of the newest prompt that has ended, in 16 bytes each in place of 57, and then its ends, as MessagePack."""
    _kinds: Sequence[SegmentKind] = ()
    _num_durable: int = 0
    """Segments that hints keep beyond the program."""
    _past: Iterator[Step] | None = None
    _steps: list[Step] | None = None
    """What came after it was drawn and waits, hardly ever more than a few; None where nothing does."""

    def begun(self, turn: Turn) -> bool:
        """A call begins; False where it does more than go on with what was said, so that it is the graph's to take in."""
        if self.graph is not None or self._running is not None or turn.request.continues:
            return False
        num_known = len(self._kinds)
        if num_known:
            digests, end = turn.chain.digests, num_known * DIGEST_BYTES
            if turn.agent != self._agent or len(digests) < num_known:
                return False
            if digests[num_known - 1] != self._packed[end - DIGEST_BYTES : end]:
                return False
        if turn.hinted is not None and not self._keeps(turn.hinted):
            return False
        self._running = turn
        return True

    def ended(self) -> bool:
        """A call has ended; False where that is the graph's to take in."""
        turn = self._running
        if turn is None:
            return False
        chain = turn.chain
        if turn.agent != self._agent:
            self._agent = turn.agent
        self._packed = b"".join(chain.digests) + _encoder.encode(chain.ends)
        self._kinds = turn.prompt.kinds
        self._running = None
        return True

    def _keeps(self, hinted: Hinted) -> bool:
        """Take in what is hinted; False where it cannot be told from the newest prompt alone."""
        if hinted.retention and (hinted.retention != SESSION_HINT or self._num_durable):
            return False  # what was durable may be so no more: the newest hint counts
        for segment, hint in hinted.up_to:
            if hint == DURABLE_HINT:
                self._num_durable = max(self._num_durable, segment + 1)
        return True

    def draw(self, record: Record) -> None:
        """Begin to make the graph: it is to take in the calls of the record, and then what is added."""
        self.graph = Graph()
        self._past = self.calls(record)
        self._running = None

    def add(self, step: Step) -> None:
        """Let its graph, which was drawn, take this in after all before it."""
        if self._steps is None:
            self._steps = []
        self._steps.append(step)

    def take(self) -> Step | None:
        """What its graph has to take in next; None where nothing is left."""
        if self._past is not None:
            step = next(self._past, None)
            if step is not None:
                return step
            self._past = None
            self._packed, self._kinds = b"", ()
        if self._steps:
            return self._steps.pop(0)
        self._steps = None
        return None

    def retired(self) -> Retired | None:
        """What is given up with its end, where it was never drawn: all but what others begin with or hints keep."""
        kinds, durable = self._kinds, self._num_durable
        kept = len(kinds)
        while kept > durable and kinds[kept - 1] not in HEAD:
            kept -= 1
        return Retired(self._first(len(kinds)), kept) if kept < len(kinds) else None

    def calls(self, record: Record) -> Iterator[Step]:
        """The steps of its calls so far, where it is not drawn: the newest prompt begins with those of all before."""
        return self._calls(record, record.num_calls, None if self._running is None else self._running.begun())

    def _calls(self, record: Record, count: int, running: Begun | None) -> Iterator[Step]:
        for call in record.first(count):
            shape = call.shape
            if shape is not None:
                kinds = self._kinds[: shape.num_segments]
                chain = self._chain(shape.num_segments, shape.repeats)
                yield Begun(call.agent, call.turn, call.model, chain, kinds, shape.hinted)
                yield call
        if running is not None:
            yield running

    def _chain(self, num_segments: int, repeats: LastAnswer | None = None) -> PromptChain:
        start = len(self._kinds) * DIGEST_BYTES
        return PromptChain(self._first(num_segments), _decoder.decode(self._packed[start:])[:num_segments], repeats)

    def _first(self, num_segments: int) -> tuple[Digest, ...]:
        packed = self._packed
        return tuple([Digest(packed[at : at + DIGEST_BYTES]) for at in range(0, num_segments * DIGEST_BYTES, DIGEST_BYTES)])
