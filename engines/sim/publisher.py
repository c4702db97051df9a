"""Where cache events leave the engine: encoded as vLLM 0.32 does, numbered, kept for replay, and handed to subscribers.

Subscribers get the encoded batch. A ZMQ publisher sends it as it is; an in-memory source decodes it with the same code that
reads a real engine, so nothing differs between the two but the socket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import zmq
import zmq.asyncio

from turnwise.engines.base import FeedLost, ReplayUnavailable
from turnwise.engines.sim.blocks import CacheEvent, Offloaded, Removed, Stored
from turnwise.engines.sim.faults import Liar, LossyLine
from turnwise.engines.vllm.wire import END_OF_REPLAY, decode_batch
from turnwise.events import FULL_ATTENTION, EventBatch

TOPIC = "kv-events"


class Published(NamedTuple):
    """One numbered batch as it goes over the wire."""

    sequence: int
    payload: bytes


Subscriber = Callable[[Published | None], None]
"""Gets every batch, and None where the engine's process has ended."""


class EventLog:
    """Encodes and numbers batches from 0, and keeps the last `capacity` of them.

    Subscribers hear them over `line`, where there is one; `liar` spoils them before they are encoded.
    """

    def __init__(
        self,
        block_size: int,
        loras: tuple[str, ...],
        capacity: int,
        *,
        line: LossyLine[Published] | None = None,
        liar: Liar | None = None,
    ) -> None:
        self.kept: deque[Published] = deque(maxlen=capacity)
        self.line = line
        self._liar = liar
        self._block_size = block_size
        self._lora_ids = {name: index for index, name in enumerate(loras, start=1)}
        self._next = 0
        self._subscribers: list[Subscriber] = []

    def publish(self, events: Iterable[CacheEvent], wall_time: float) -> None:
        """Append one batch and hand it to every subscriber."""
        encoded = [encode_event(event, self._block_size, self._lora_ids) for event in events]
        spoiled = encoded if self._liar is None else self._liar.spoil(encoded)
        published = Published(self._next, encode_batch(wall_time, spoiled))
        self._next += 1
        self.kept.append(published)
        for arriving in (published,) if self.line is None else self.line.send(published):
            for subscriber in self._subscribers:
                subscriber(arriving)

    def restart(self) -> None:
        """Begin anew at 0 with nothing kept, as a new process does; subscribers are told that the old one has ended."""
        self.kept.clear()
        self._next = 0
        if self.line is not None:
            self.line.cut()
        for subscriber in self._subscribers:
            subscriber(None)

    def since(self, start: int) -> list[Published]:
        """Batches from sequence `start` on that are still kept."""
        return [published for published in self.kept if published.sequence >= start]

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` with every batch from now on."""
        self._subscribers.append(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        self._subscribers.remove(subscriber)


def encode_batch(wall_time: float, events: list[Any], rank: int = 0) -> bytes:
    """One batch in msgpack."""
    return msgspec.msgpack.encode([wall_time, events, rank])


def encode_event(event: CacheEvent, block_size: int, lora_ids: dict[str, int]) -> dict[str, Any]:
    """One event as the map that vLLM 0.32 publishes, its keys in vLLM's order and its defaults left out."""
    if isinstance(event, Removed):
        removed = {"type": "BlockRemoved", "block_hashes": [event.hash], "medium": "GPU", "group_idx": 0}
        return {**removed, "medium": "CPU", "locality": "LOCAL"} if event.is_offloaded else removed
    if isinstance(event, Offloaded):
        return _encode_offloaded(event, block_size)
    if not isinstance(event, Stored):
        return {"type": "AllBlocksCleared"}
    lora = event.owner.lora
    encoded = {
        "type": "BlockStored",
        "block_hashes": event.hashes,
        "parent_block_hash": event.parent,
        "token_ids": event.tokens.tolist(),
        "block_size": block_size,
        "lora_id": lora_ids[lora] if lora else None,
        "medium": "GPU",
        "lora_name": lora,
        "extra_keys": [_extra_keys(event, event.first + offset) for offset in range(len(event.hashes))],
        "group_idx": 0,
        "kv_cache_spec_kind": FULL_ATTENTION,
    }
    if event.owner.session_id is not None:
        encoded["session_id"] = event.owner.session_id
    return encoded


def _encode_offloaded(event: Offloaded, block_size: int) -> dict[str, Any]:
    """As vLLM's tier tells of blocks near eviction, of which it knows the hash and neither parent nor tokens."""
    return {
        "type": "BlockStored",
        "block_hashes": [event.hash],
        "parent_block_hash": None,
        "token_ids": [],
        "block_size": block_size,
        "lora_id": None,
        "medium": "CPU",
        "lora_name": None,
        "group_idx": 0,
        "kv_cache_spec_kind": FULL_ATTENTION,
        "locality": "LOCAL",
    }


def _extra_keys(event: Stored, index: int) -> list[str] | None:
    keys = [event.owner.lora] if event.owner.lora else []
    if index == 0 and event.owner.salt:
        keys.append(event.owner.salt)
    return keys or None


class InMemoryEventSource:
    """An `EventSource` over an engine in the same process."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._arrived: asyncio.Queue[Published | None] = asyncio.Queue()
        self._has_ended = False

    async def __aenter__(self) -> Self:
        """Subscribe; batches published before are left to `replay`."""
        self._log.subscribe(self._hear)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unsubscribe."""
        self._log.unsubscribe(self._hear)

    async def receive(self) -> list[EventBatch]:
        """Wait for the next batches; raises `FeedLost` once the engine has ended, and `ValueError` for what cannot be read."""
        arrived: list[Published] = []
        while not arrived or not self._arrived.empty():
            published = await self._arrived.get()
            if published is None:
                self._arrived.put_nowait(None)  # whoever asks again is told again
                break
            arrived.append(published)
        if not arrived:
            raise FeedLost("the engine has ended")
        return [decode_batch(published.payload, published.sequence) for published in arrived]

    async def replay(self, start: int) -> list[EventBatch]:
        """Batches from `start` on that are still kept; raises `ReplayUnavailable` where the engine keeps none at all."""
        if not self._log.kept.maxlen:
            raise ReplayUnavailable("this engine keeps no batches")
        return [decode_batch(published.payload, published.sequence) for published in self._log.since(start)]

    def _hear(self, published: Published | None) -> None:
        if not self._has_ended:  # what a new process publishes is for new subscribers
            self._has_ended = published is None
            self._arrived.put_nowait(published)


class ZmqPublisher:
    """Sends a log's batches over ZMQ PUB, and answers replay requests on a ROUTER; raises `OSError` where a port is taken."""

    def __init__(self, log: EventLog, host: str, events_port: int, replay_port: int) -> None:
        self._log = log
        context = zmq.asyncio.Context.instance()
        # A PUB socket never blocks, so it is written to without a loop; replay requests are awaited.
        self._publish: zmq.Socket[bytes] = zmq.Context(context).socket(zmq.PUB)
        self._router = context.socket(zmq.ROUTER)
        for socket in (self._publish, self._router):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SNDHWM, 100_000)
        try:
            self.endpoint = _bind(self._publish, host, events_port)
            self.replay_endpoint = _bind(self._router, host, replay_port)
        except OSError:
            self.close()
            raise
        log.subscribe(self._send)

    def _send(self, published: Published | None) -> None:
        if published is None:
            return  # the sockets outlive the engine, so only the sequence tells
        self._publish.send_multipart([TOPIC.encode(), published.sequence.to_bytes(8, "big"), published.payload])

    async def serve_replays(self) -> None:
        """Answer replay requests until cancelled; a request that is no request is ignored."""
        while True:
            frames = await self._router.recv_multipart()
            if len(frames) != 3 or len(frames[2]) != 8:
                continue
            client, start = frames[0], int.from_bytes(frames[2], "big")
            for sequence, payload in self._log.since(start):
                await self._router.send_multipart([client, b"", TOPIC.encode(), sequence.to_bytes(8, "big"), payload])
            await self._router.send_multipart([client, b"", b"", END_OF_REPLAY, b""])

    def close(self) -> None:
        """Close both sockets."""
        self._publish.close()
        self._router.close()


def _bind(socket: zmq.Socket[Any], host: str, port: int) -> str:
    try:
        socket.bind(f"tcp://{host}:{port}")
    except zmq.ZMQError as error:
        raise OSError(f"cannot publish KV events on tcp://{host}:{port}: {error}") from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)
