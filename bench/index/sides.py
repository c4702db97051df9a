"""The two that are measured, each behind the calls that a proxy would make."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from bench.index.workloads import BLOCK_SIZE, Step

from turnwise.events import BlocksRemoved, BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report
from turnwise.index.domains import Domain
from turnwise.settings import IndexSettings
from turnwise.types import BlockHash, CallId, Digest, PromptChain, ReplicaId, Residency

KEY = DomainKey(model="m", block_size=BLOCK_SIZE, algorithm="sha256")
CALL = CallId("taught")
NUM_MESSAGES = 128
"""Segments of the prompt that the facade is asked for: a session of some sixty tool calls."""

BYTES_PER_BLOCK = 64


class Side(Protocol):
    """An index to which prepared events are applied."""

    def prepare(self, step: Step) -> Any:
        """The event as it arrives, made outside what is timed."""

    def prepare_removal(self, blocks: tuple[int, ...]) -> Any:
        """As `prepare`, for blocks that go."""

    def apply(self, events: Iterable[tuple[int, Any]]) -> None:
        """Take in events, each with the number of its replica."""


class Turnwise:
    """`KvIndex`, which the pipeline asks and the feeds fill; events are what the adapter decodes."""

    def __init__(self, num_replicas: int) -> None:
        self.index = KvIndex(IndexSettings())
        self.replicas = [ReplicaId(f"r{number}") for number in range(num_replicas)]
        for replica in self.replicas:
            self.index.add_replica(replica, KEY, num_blocks=2_000_000, has_events=True)

    def prepare(self, step: Step) -> EventBatch:
        """A batch with one event."""
        blocks = tuple(map(BlockHash, step.blocks))
        parent = None if step.parent is None else BlockHash(step.parent)
        return EventBatch(0, 0, (BlocksStored(hashes=blocks, parent=parent, block_size=BLOCK_SIZE),))

    def prepare_removal(self, blocks: tuple[int, ...]) -> EventBatch:
        """A batch with one event."""
        return EventBatch(0, 0, (BlocksRemoved(hashes=tuple(map(BlockHash, blocks))),))

    def apply(self, events: Iterable[tuple[int, EventBatch]]) -> None:
        """Through the facade, as a feed does."""
        apply, replicas = self.index.apply, self.replicas
        for replica, batch in events:
            apply(replicas[replica], batch, 0.0)

    @property
    def domain(self) -> Domain:
        """The one domain, whose index the facade asks in turn."""
        return next(iter(self.index._domains))  # noqa: SLF001 - the inner look-up is timed on the facade's own index

    def teach(self, chain: tuple[int, ...], replica: int) -> PromptChain:
        """Teach, by a stamped event and an answer's usage, that a prompt is `chain`; returns the prompt."""
        prompt = PromptChain(
            digests=tuple(Digest(number.to_bytes(16, "big")) for number in range(NUM_MESSAGES)),
            ends=tuple((number + 1) * len(chain) * BYTES_PER_BLOCK // NUM_MESSAGES for number in range(NUM_MESSAGES)),
        )
        last = BlocksStored(hashes=(BlockHash(chain[-1]),), parent=BlockHash(chain[-2]), block_size=BLOCK_SIZE, call_id=CALL)
        self.index.apply(self.replicas[replica], EventBatch(0, 0, (last,)), 0.0)
        lesson = self.index.settle(CALL, prompt, self.replicas[replica], Report(len(chain) * BLOCK_SIZE), 0.0)
        if not lesson.is_taught:
            raise RuntimeError("the chain was not taught, so the facade's look-up would find nothing")
        return prompt

    def residency(self, prompt: PromptChain) -> Residency:
        """The facade's look-up over all replicas."""
        return self.index.residency(prompt, self.replicas, 0.0)


class Dynamo:
    """`RadixTree` of PyPI's `ai-dynamo-runtime`: JSON events in, a list of block hashes asked for."""

    def __init__(self) -> None:
        from dynamo._core import RadixTree  # noqa: PLC0415 - installed for this comparison alone, and ours is measured without it

        self.tree = RadixTree()
        self.find: Callable[[list[int]], Any] = self.tree.find_matches

    def prepare(self, step: Step) -> bytes:
        """One event as JSON; the tokens' hash is what a look-up asks for, so both are ours."""
        blocks = [{"block_hash": block, "tokens_hash": block} for block in step.blocks]
        return json.dumps({"event_id": 0, "data": {"stored": {"parent_hash": step.parent, "blocks": blocks}}}).encode()

    def prepare_removal(self, blocks: tuple[int, ...]) -> bytes:
        """One event as JSON."""
        return json.dumps({"event_id": 0, "data": {"removed": {"block_hashes": blocks}}}).encode()

    def apply(self, events: Iterable[tuple[int, bytes]]) -> None:
        """Through the binding."""
        apply = self.tree.apply_event
        for replica, event in events:
            apply(replica, event)

    def depths(self, chain: list[int]) -> dict[int, int]:
        """Leading blocks of `chain` by replica."""
        return {worker: depth for (worker, _rank), depth in self.find(chain).scores.items()}
