"""Stored blocks a second on one core, through the feed: from the engine's bytes to the index."""

from __future__ import annotations

import asyncio
import gc
import time
from random import Random
from statistics import median
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec
import uvloop
from bench.knowledge.row import Row, at_least

from turnwise.engines.base import EventSource
from turnwise.engines.vllm.wire import decode_batch
from turnwise.events import EventBatch, EventSourceInfo, LoadReport, ReplicaFacts
from turnwise.index import DomainKey, KvIndex
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.feed import Feed
from turnwise.proxy.member import Member
from turnwise.settings import IndexSettings, PolicySettings, Replica
from turnwise.types import ReplicaId

BOUND = 0.55
ROUNDS = 9
NUM_EVENTS, EVENT_BLOCKS, BLOCK_TOKENS = 480, 128, 16
SESSION_EVENTS = 8
TOKEN_IDS = 150_000
"""Token ids are drawn below this: most take three or five bytes in msgpack, as in a vocabulary of today's models."""
HOW = (
    f"{NUM_EVENTS} batches as vLLM 0.32 publishes them, each with an event of {EVENT_BLOCKS} new blocks of {BLOCK_TOKENS} "
    "tokens, go through the feed into an index that begins empty: decoded, put in sequence, applied with turns of the loop "
    "between them. The yardstick decodes the same bytes into typed structs, tokens as a list of integers. CPU time, in turns."
)


class Stored(msgspec.Struct, tag="BlockStored"):
    """An event as the yardstick decodes it: every field typed."""

    block_hashes: list[int]
    parent_block_hash: int | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: list[list[str] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None
    session_id: str | None = None


class Batch(msgspec.Struct, array_like=True):
    """A batch of them."""

    time: float
    events: list[Stored]
    rank: int | None = None


def payloads(seed: int) -> list[bytes]:
    """Batches of new blocks, in sessions of a few events that hang on each other."""
    rng = Random(seed)
    made = []
    parent: int | None = None
    for number in range(NUM_EVENTS):
        if number % SESSION_EVENTS == 0:
            parent = None
        hashes = [rng.getrandbits(64) for _ in range(EVENT_BLOCKS)]
        event: dict[str, Any] = {
            "type": "BlockStored",
            "block_hashes": hashes,
            "parent_block_hash": parent,
            "token_ids": [rng.randrange(TOKEN_IDS) for _ in range(EVENT_BLOCKS * BLOCK_TOKENS)],
            "block_size": BLOCK_TOKENS,
            "lora_id": None,
            "medium": "GPU",
            "lora_name": None,
            "extra_keys": [None] * EVENT_BLOCKS,
            "group_idx": 0,
            "kv_cache_spec_kind": "full_attention",
            "session_id": f"tw-{number // SESSION_EVENTS:020x}",
        }
        made.append(msgspec.msgpack.encode([1.7e9 + number, [event], 0]))
        parent = hashes[-1]
    return made


class Published:
    """An `EventSource` that has all batches at once, and an adapter that gives it; `done` is set when they were taken."""

    def __init__(self, payloads: list[bytes]) -> None:
        self._left = list(enumerate(payloads))[::-1]
        self.done = asyncio.Event()

    def events(self, source: EventSourceInfo) -> EventSource:
        """See `EngineAdapter.events`."""
        del source
        return self

    async def discover(self, http: httpx.AsyncClient, base_url: str) -> ReplicaFacts:
        """Is not asked."""
        raise NotImplementedError

    async def models(self, http: httpx.AsyncClient, base_url: str) -> tuple[str, ...]:
        """Is not asked."""
        raise NotImplementedError

    async def load(self, http: httpx.AsyncClient, base_url: str) -> LoadReport:
        """Is not asked."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Be there."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Go."""

    async def receive(self) -> list[EventBatch]:
        """The next batch, decoded as it is from a socket."""
        if not self._left:
            self.done.set()
            await asyncio.Event().wait()
        sequence, payload = self._left.pop()
        return [decode_batch(payload, sequence)]

    async def replay(self, start: int) -> list[EventBatch]:
        """Nothing was published before."""
        del start
        return []


async def _follow(batches: list[bytes]) -> int:
    """Feed all batches into an empty index; gives CPU nanoseconds."""
    index = KvIndex(IndexSettings())
    name = ReplicaId("r0")
    index.add_replica(name, DomainKey("bench", BLOCK_TOKENS, "sha256"), num_blocks=1_000_000, has_events=True)
    source = Published(batches)
    member = Member(Replica(url="http://127.0.0.1:1", name=name), PolicySettings())
    info = EventSourceInfo(rank=0, endpoint="tcp://127.0.0.1:1", replay_endpoint=None)
    feed = Feed(member, info, adapter=source, index=index, metrics=Metrics(), clock=time.monotonic)
    gc.collect()
    began = time.process_time_ns()
    following = asyncio.create_task(feed.run())
    await source.done.wait()
    spent = time.process_time_ns() - began
    following.cancel()
    await asyncio.wait([following])
    held = index.stats().replicas[name].num_blocks
    if held != NUM_EVENTS * EVENT_BLOCKS:
        raise RuntimeError(f"the index holds {held} blocks, not all that were stored")
    return spent


def measure(seed: int) -> Row:
    """The row; raises `RuntimeError` where blocks are missing from the index."""
    batches = payloads(seed)
    decode = msgspec.msgpack.Decoder(Batch).decode
    ours: list[int] = []
    theirs: list[int] = []
    for _ in range(ROUNDS):
        ours.append(uvloop.run(_follow(batches)))
        gc.collect()
        began = time.process_time_ns()
        for payload in batches:
            decode(payload)
        theirs.append(time.process_time_ns() - began)
    num_blocks = NUM_EVENTS * EVENT_BLOCKS
    figures = {
        "feed blocks/s": num_blocks / median(ours) * 1e9,
        "msgspec blocks/s": num_blocks / median(theirs) * 1e9,
        "feed ns a block": median(ours) / num_blocks,
        "msgspec ns a block": median(theirs) / num_blocks,
    }
    ratio = median(other / mine for mine, other in zip(ours, theirs, strict=True))
    title = "stored blocks a second on one core, 16-token blocks, 128-block events"
    return at_least("feeding", title, ratio, BOUND, "x msgspec's typed decode alone", figures, HOW)
