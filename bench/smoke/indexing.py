"""One agent's conversation in the index alone, taught by events as vLLM publishes them, with every input made beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from turnwise.events import BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report, prompt_chain
from turnwise.settings import IndexSettings
from turnwise.types import BlockHash, CallId, Prompt, PromptChain, ReplicaId, Segment, SegmentKind

NUM_REPLICAS = 64
NUM_HOLDERS = 8
"""Replicas that hold a part of the first prompt, each as much more than the one before."""
FIRST_MESSAGES = 300
MESSAGE_BYTES = 2_048
MESSAGES_PER_TURN = 2
BYTES_PER_TOKEN = 4
BLOCK_TOKENS = 16
BLOCK_BYTES = BLOCK_TOKENS * BYTES_PER_TOKEN
NUM_BLOCKS = 100_000
"""Blocks of KV that a replica has room for."""
TURN_S = 1.0


class _Turn(msgspec.Struct, frozen=True):
    call_id: CallId
    chain: PromptChain
    prompt_tokens: int
    events: EventBatch
    now: float


class Agent:
    """A conversation of 600 KB that grows by a turn of 4 KB; the replica that answered it last answers it again."""

    def __init__(self, num_turns: int) -> None:
        key = DomainKey(model="smoke", block_size=BLOCK_TOKENS, algorithm="sha256")
        self._index = KvIndex(IndexSettings())
        self._replicas = [ReplicaId(f"replica-{number}") for number in range(NUM_REPLICAS)]
        for replica in self._replicas:
            self._index.add_replica(replica, key, num_blocks=NUM_BLOCKS, has_events=True)
        first = FIRST_MESSAGES * MESSAGE_BYTES // BLOCK_BYTES
        for number in range(1, NUM_HOLDERS + 1):
            self._index.apply(self._replicas[-number], _stored(0, first * number // (NUM_HOLDERS + 1), "other"), 0.0)
        self._turns = iter(_turns(num_turns))

    def turn(self) -> None:
        """What the index is asked and told in the course of one call."""
        turn = next(self._turns)
        index, chain, home = self._index, turn.chain, self._replicas[0]
        residency = index.residency(chain, self._replicas, turn.now)
        hit = residency.hits[home]
        index.book(turn.call_id, chain, home, residency.prompt_tokens, turn.now, predicted=hit)
        index.apply(home, turn.events, turn.now)
        cached_tokens = hit.tokens
        index.settle(turn.call_id, chain, home, Report(turn.prompt_tokens, cached_tokens), turn.now)


def _turns(number: int) -> Sequence[_Turn]:
    made = []
    had = 0
    for at in range(number):
        num_messages = FIRST_MESSAGES + at * MESSAGES_PER_TURN
        chain = _chain(num_messages)
        blocks = chain.num_bytes // BLOCK_BYTES
        call_id = CallId(f"call-{at}")
        events = _stored(had, blocks, call_id)
        made.append(_Turn(call_id, chain, chain.num_bytes // BYTES_PER_TOKEN, events, at * TURN_S))
        had = blocks
    return made


def _chain(num_messages: int) -> PromptChain:
    segments = (Segment(SegmentKind.USER, b"%0*d" % (MESSAGE_BYTES, at)) for at in range(num_messages))
    return prompt_chain(Prompt.of(b"smoke", segments))


def _stored(first: int, last: int, call_id: str) -> EventBatch:
    """The event of an engine that stores blocks `first` to `last` of the conversation."""
    hashes = tuple(map(_block, range(first, last)))
    event = BlocksStored(hashes, _block(first - 1) if first else None, BLOCK_TOKENS, call_id=call_id)
    return EventBatch(sequence=0, rank=0, events=(event,))


def _block(position: int) -> BlockHash:
    return BlockHash((position + 1) * 0x9E3779B97F4A7C15 % (1 << 60))
