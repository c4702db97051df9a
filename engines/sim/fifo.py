"""A plain model of an engine, for the replay of traces: what limits routing, and nothing besides.

One prefill server takes calls in order of arrival and computes the tokens that are not cached; decoding takes a fixed time a
token, however many calls run; blocks are found in the cache from the moment their call is taken in. A call's times follow from
these rules at its arrival, so it costs two timers, where the engine of `core` takes a step for every token.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec

from turnwise.engines.base import ReplayUnavailable
from turnwise.engines.sim.api import SimAnswer
from turnwise.events import BlocksRemoved, BlocksStored, EventBatch, EventSourceInfo, KvEvent, LoadReport, ReplicaFacts
from turnwise.types import BLOCK_HASH_MASK, BlockHash

_STREAM_HEAD = (("content-type", "text/event-stream"),)
_FIRST_CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'


class FifoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One engine of this kind: capacity in blocks, speed in tokens a second."""

    block_size: int
    num_blocks: int
    prefill_tokens_per_s: float
    decode_token_s: float = 0.02
    model: str = "sim"


class Times(msgspec.Struct, frozen=True):
    """What becomes of one call, in seconds on the clock of its arrival."""

    cached_tokens: int
    first_token_at: float
    ended_at: float


class BlockLru:
    """The prefix cache: blocks by id, where equal ids mean equal prefixes, least recently used first.

    A sequence is touched tail first, so its tail is evicted before its head, and whoever holds a block holds all before it.
    """

    def __init__(self, num_blocks: int) -> None:
        self._num_blocks = num_blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def match(self, blocks: Sequence[int]) -> int:
        """Leading `blocks` that are held."""
        held = self._blocks
        for count, block in enumerate(blocks):
            if block not in held:
                return count
        return len(blocks)

    def use(self, blocks: Sequence[int]) -> list[int]:
        """Take a sequence in, all of it now the most recent; gives the blocks evicted for it, first gone first."""
        held = self._blocks
        for block in reversed(blocks):
            held[block] = None
            held.move_to_end(block)
        return [held.popitem(last=False)[0] for _ in range(len(held) - self._num_blocks)]


class FifoCore:
    """Cache and prefill server of one engine, without a clock of its own; `publish` gets each call's events as they happen."""

    def __init__(self, options: FifoOptions) -> None:
        self.cache = BlockLru(options.num_blocks)
        self._options = options
        self._free_at = 0.0

    def dispatch(self, blocks: Sequence[int], prompt_tokens: int, output_tokens: int, now: float) -> Times:
        """Take in a call of `prompt_tokens` whose full blocks are `blocks`; the last token of a prompt is always computed."""
        options = self._options
        reusable = blocks[: max(0, prompt_tokens - 1) // options.block_size]
        cached_tokens = self.cache.match(reusable) * options.block_size
        self._free_at = max(now, self._free_at) + (prompt_tokens - cached_tokens) / options.prefill_tokens_per_s
        return Times(
            cached_tokens=cached_tokens,
            first_token_at=self._free_at,
            ended_at=self._free_at + output_tokens * options.decode_token_s,
        )

    def store(self, blocks: Sequence[int], call_id: str | None) -> list[KvEvent]:
        """Make `blocks` findable, as far as they fit; gives what a publisher says of it: room is made, then filled."""
        blocks = blocks[: self._options.num_blocks]
        num_held = self.cache.match(blocks)
        removed = self.cache.use(blocks)
        events: list[KvEvent] = []
        if removed:
            events.append(BlocksRemoved(hashes=tuple(map(BlockHash, removed))))
        if num_held < len(blocks):
            events.append(
                BlocksStored(
                    hashes=tuple(map(BlockHash, blocks[num_held:])),
                    parent=BlockHash(blocks[num_held - 1]) if num_held else None,
                    block_size=self._options.block_size,
                    call_id=call_id,
                    head_key=None if num_held else blocks[0],
                )
            )
        return events


class _Message(msgspec.Struct):
    content: str


class _Body(msgspec.Struct):
    messages: list[_Message]
    max_tokens: int


_BODY = msgspec.json.Decoder(_Body)


def block_content(block: int, num_tokens: int, num_bytes: int) -> str:
    """A message's text that stands for one block, of about `num_bytes` bytes; only a full block is ever cached."""
    return f"{block:x} {num_tokens} ".ljust(num_bytes, ".")


class FifoEngine:
    """An embedded engine whose chat messages are blocks, as `block_content` writes them."""

    def __init__(self, options: FifoOptions) -> None:
        self.options = options
        self.core = FifoCore(options)
        self._sequence = 0
        self._sources: list[FifoEventSource] = []

    async def __aenter__(self) -> Self:
        """Nothing runs between calls."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to stop: a call is a task of whoever made it."""

    def facts(self, source: EventSourceInfo) -> ReplicaFacts:
        """What discovery would learn of it; `source` is where its events are heard."""
        load = LoadReport(block_size=self.options.block_size, num_blocks=self.options.num_blocks, hash_algorithm="trace")
        return ReplicaFacts(models=(self.options.model,), engine="fifo", event_sources=(source,), load=load)

    def event_source(self) -> FifoEventSource:
        """A subscription to this engine's events."""
        return FifoEventSource(self._sources)

    async def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> SimAnswer:  # noqa: ARG002 - as `SimEngine.handle`
        """Answer a chat call with a stream of two chunks: its first token, and all the others with the usage.

        Raises `msgspec.ValidationError` or `ValueError` for a body whose messages are no blocks.
        """
        call = _BODY.decode(body)
        blocks: list[int] = []
        prompt_tokens = 0
        for message in call.messages:
            block, num_tokens, _filler = message.content.split(" ", 2)
            prompt_tokens += int(num_tokens)
            if int(num_tokens) == self.options.block_size:
                blocks.append(int(block, 16) & BLOCK_HASH_MASK)
        times = self.core.dispatch(blocks, prompt_tokens, call.max_tokens, asyncio.get_running_loop().time())
        self._publish(self.core.store(blocks, headers.get("x-session-id")))
        return SimAnswer(200, _STREAM_HEAD, self._stream(times, prompt_tokens, call.max_tokens))

    async def _stream(self, times: Times, prompt_tokens: int, output_tokens: int) -> AsyncGenerator[bytes, None]:
        await _until(times.first_token_at)
        yield _FIRST_CHUNK
        await _until(times.ended_at)
        yield (
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
            b'data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
            b'"prompt_tokens_details":{"cached_tokens":%d}}}\n\ndata: [DONE]\n\n'
        ) % (prompt_tokens, output_tokens, prompt_tokens + output_tokens, times.cached_tokens)

    def _publish(self, events: list[KvEvent]) -> None:
        if not events:
            return
        batch = EventBatch(sequence=self._sequence, rank=0, events=tuple(events))
        self._sequence += 1
        for source in self._sources:
            source.arrived.put_nowait(batch)


class FifoEventSource:
    """An `EventSource` over an engine in the same process; nothing is kept for replay."""

    def __init__(self, subscribers: list[FifoEventSource]) -> None:
        self.arrived: asyncio.Queue[EventBatch] = asyncio.Queue()
        self._subscribers = subscribers

    async def __aenter__(self) -> Self:
        """Subscribe."""
        self._subscribers.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unsubscribe."""
        self._subscribers.remove(self)

    async def receive(self) -> list[EventBatch]:
        """Wait for the next batches."""
        batches = [await self.arrived.get()]
        while not self.arrived.empty():
            batches.append(self.arrived.get_nowait())
        return batches

    async def replay(self, start: int) -> list[EventBatch]:
        """Nothing was published before batch 0; later ones raise `ReplayUnavailable`."""
        if start:
            raise ReplayUnavailable("this engine keeps no batches")
        return []


async def _until(time_s: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, time_s - loop.time()))
