"""CPU spent knowing: the next turn of 8 KB of a conversation of 600 KB, from its bytes to what it taught."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from random import Random
from statistics import median
from typing import Any

import msgspec
from bench.knowledge.row import Row, at_most

from turnwise.dialects import ROUTES
from turnwise.events import BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits, IndexSettings
from turnwise.types import BlockHash, ReplicaId, Request

BOUND = 1.5
PROMPT_BYTES, TURN_BYTES, STEP_BYTES = 600_000, 8_000, 4_000
NUM_CONVERSATIONS = 40
NUM_REPLICAS = 8
BLOCK_TOKENS, BYTES_PER_TOKEN = 16, 4
PATH = "/v1/chat/completions"
SYSTEM = "You are a coding agent. Work in small steps, and run the tests after each change. " * 40
PARTS = ("read", "residency", "book", "settle")
HOW = (
    f"A proxy over {NUM_REPLICAS} replicas has been taught {NUM_CONVERSATIONS} conversations. The next turn of each "
    "is read, asked for, booked and settled once, one conversation after the other: the code ran a moment ago, and what is "
    "known of the conversation was not touched for long. The yardstick decodes its body once into a list of raw messages. CPU "
    "time, in turns; then once more with a full collection before each call, which a proxy never does."
)


class Body(msgspec.Struct):
    """The body as the yardstick decodes it: each message left as it came."""

    messages: list[msgspec.Raw]
    model: str


class Fleet:
    """Reader and index of a proxy, and one engine's events made by hand."""

    def __init__(self) -> None:
        self.reader = Reader(Edits())
        self.index = KvIndex(IndexSettings())
        self._num_held: dict[int, int] = {}
        """Blocks of each conversation that its engine holds."""
        self.replicas = [ReplicaId(f"replica-{number}") for number in range(NUM_REPLICAS)]
        for replica in self.replicas:
            self.index.add_replica(replica, DomainKey("bench", BLOCK_TOKENS, "sha256"), num_blocks=500_000, has_events=True)

    def read(self, body: bytes) -> Request:
        """What the pipeline does with a body before it asks where to send it."""
        raw = RawRequest("POST", PATH, (), body, 0.0, 0.0, {})
        return self.reader.read(raw, ROUTES[PATH], "request")

    def call(self, body: bytes, seed: int, now: float) -> dict[str, int]:
        """One call from its bytes to its lesson; gives the CPU nanoseconds of each part, the engine's own events apart."""
        replica = self.replicas[seed % NUM_REPLICAS]
        clock = time.thread_time_ns
        began = clock()
        request = self.read(body)
        read = clock()
        residency = self.index.residency(request.chain, self.replicas, now)
        asked = clock()
        self.index.book(
            request.call_id, request.chain, replica, residency.prompt_tokens, now, predicted=residency.hits[replica]
        )
        booked = clock()
        chain = request.chain
        if chain is None:
            raise RuntimeError("the body was not understood, so nothing was known of it")
        tokens = chain.num_bytes // BYTES_PER_TOKEN
        first, last = self._num_held.get(seed, 0), tokens // BLOCK_TOKENS
        self._num_held[seed] = last
        self.index.apply(replica, _stored(seed, first, last, request.call_id), now)
        stored = clock()
        lesson = self.index.settle(request.call_id, chain, replica, Report(tokens, first * BLOCK_TOKENS, 0), now)
        settled = clock()
        if not lesson.is_taught:
            raise RuntimeError("the call taught nothing, so settling it was no work")
        return {"read": read - began, "residency": asked - read, "book": booked - asked, "settle": settled - stored}


def _stored(seed: int, first: int, last: int, call_id: str) -> EventBatch:
    """The event of an engine that stores blocks `first` to `last` of a conversation."""
    hashes = tuple(_block(seed, position) for position in range(first, last))
    parent = _block(seed, first - 1) if first else None
    return EventBatch(0, 0, (BlocksStored(hashes, parent, BLOCK_TOKENS, call_id=call_id),))


def _block(seed: int, position: int) -> BlockHash:
    return BlockHash((seed * 1_000_000 + position + 1) * 0x9E3779B97F4A7C15 % (1 << 60))


def measure(seed: int) -> Row:
    """The row; raises `RuntimeError` where the measured call is not what it should be."""
    fleet = Fleet()
    told = list(conversations(seed))
    for number, (before, _, _) in enumerate(told):
        fleet.call(before, number, float(number))
    gc.collect()  # what was made for the test is no garbage of the calls
    flowing, after_collecting = Compared(), Compared()
    for number, (_, body, _) in enumerate(told):
        flowing.add(fleet, body, number, NUM_CONVERSATIONS + number)
    for number, (_, _, body) in enumerate(told):
        gc.collect()
        after_collecting.add(fleet, body, number, 2 * NUM_CONVERSATIONS + number)
    figures = {**flowing.figures(), "x after a full collection": after_collecting.ratio()}
    title = "CPU spent knowing, 600 KB prompt, next turn of 8 KB"
    return at_most("knowing", title, flowing.ratio(), BOUND, "x msgspec's decode into raw messages", figures, HOW)


class Compared:
    """CPU nanoseconds of calls, part by part, and of decoding the same bodies, in turns."""

    def __init__(self) -> None:
        self._parts: dict[str, list[int]] = {part: [] for part in PARTS}
        self._ours: list[int] = []
        self._theirs: list[int] = []
        self._decode = msgspec.json.Decoder(Body).decode

    def add(self, fleet: Fleet, body: bytes, number: int, now: float) -> None:
        """Measure a call of conversation `number`, and the yardstick, before it and after it in turns."""
        if number % 2:
            self._add_theirs(body)
        parts = fleet.call(body, number, now)
        self._ours.append(sum(parts.values()))
        for part, spent in parts.items():
            self._parts[part].append(spent)
        if not number % 2:
            self._add_theirs(body)

    def ratio(self) -> float:
        """The median of a call's time over the yardstick's."""
        return median(ours / theirs for ours, theirs in zip(self._ours, self._theirs, strict=True))

    def figures(self) -> dict[str, float]:
        """The medians, in microseconds."""
        figures = {f"{part} us": median(spent) / 1e3 for part, spent in self._parts.items()}
        return figures | {"knowing us": median(self._ours) / 1e3, "msgspec us": median(self._theirs) / 1e3}

    def _add_theirs(self, body: bytes) -> None:
        began = time.thread_time_ns()
        self._decode(body)
        self._theirs.append(time.thread_time_ns() - began)


def conversations(seed: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """For each conversation three bodies, each a turn longer than the one before: 600 KB of tools, tool calls and results."""
    rng = Random(seed)
    for serial in range(NUM_CONVERSATIONS):
        messages: list[dict[str, Any]] = [_message("system", SYSTEM), _message("user", f"Task {serial}: make the tests pass.")]
        size = sum(len(message["content"]) for message in messages)
        while size < PROMPT_BYTES - TURN_BYTES:
            size += _extend(messages, rng)
        before = _body(messages)
        yield before, _next_turn(messages, rng), _next_turn(messages, rng)


def _next_turn(messages: list[dict[str, Any]], rng: Random) -> bytes:
    """Add a turn; gives the body with it."""
    added = 0
    while added < TURN_BYTES:
        added += _extend(messages, rng)
    return _body(messages)


def _extend(messages: list[dict[str, Any]], rng: Random) -> int:
    """Add a step: an assistant's message with a tool call, and the result; gives its bytes."""
    name = f"src/module_{rng.randrange(1000)}.py"
    call = {"id": "call_1", "type": "function", "function": {"name": "read_file", "arguments": json.dumps({"path": name})}}
    text = "".join(f"{rng.randrange(16**8):08x} = self.index[{line}]\n" for line in range(STEP_BYTES // 32))
    step = [
        {**_message("assistant", f"I read {name}."), "tool_calls": [call]},
        {**_message("tool", text), "tool_call_id": "call_1"},
    ]
    messages += step
    return len(json.dumps(step))


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _body(messages: list[dict[str, Any]]) -> bytes:
    return json.dumps({"model": "bench", "messages": messages, "max_tokens": 512}).encode()
