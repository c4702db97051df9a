"""A subscription to one rank's KV events over ZMQ. The socket reconnects by itself, so an engine may come and go."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import zmq
import zmq.asyncio

from turnwise.engines.base import ReplayUnavailable
from turnwise.engines.vllm.wire import END_OF_REPLAY, decode_batch
from turnwise.events import EventBatch, EventSourceInfo

MAX_DRAIN = 256
"""Most batches given at once, so that a flood does not hold the loop."""
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Larger messages end the connection: no scheduler step stores that much."""
RECEIVE_QUEUE = 100_000
"""Messages that may wait in the socket, as many as vLLM keeps on its side."""
HEARTBEAT_MS = 5_000
RECONNECT_MS, RECONNECT_MAX_MS = 100, 5_000


class ZmqEventSource:
    """An `EventSource` of a vLLM replica; `replay` waits at most `replay_timeout_s` seconds."""

    def __init__(self, info: EventSourceInfo, *, replay_timeout_s: float = 5.0) -> None:
        self.num_unknown = 0
        """Events of a type that this version does not know."""
        self._info = info
        self._replay_timeout_s = replay_timeout_s
        self._socket: zmq.asyncio.Socket | None = None
        self._fault: ValueError | None = None

    async def __aenter__(self) -> Self:
        """Connect; does not wait for the engine to be there."""
        socket = _context().socket(zmq.SUB)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, RECEIVE_QUEUE),
            (zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES),
            (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
            (zmq.RECONNECT_IVL, RECONNECT_MS),
            (zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS),
        ):
            socket.setsockopt(option, value)
        socket.setsockopt(zmq.SUBSCRIBE, self._info.topic.encode())
        socket.connect(self._info.endpoint)
        self._socket = socket
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def receive(self) -> list[EventBatch]:
        """Wait for the next batches, at most `MAX_DRAIN`; raises `ValueError` on a message that cannot be read.

        What came whole before such a message is given first; what comes after it is not lost.
        """
        assert self._socket is not None, "receive() is for an entered source"
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        batches = [self._read(await self._socket.recv_multipart())]
        while len(batches) < MAX_DRAIN:
            try:
                frames = await self._socket.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                batches.append(self._read(frames))
            except ValueError as error:
                self._fault = error
                break
        return batches

    async def replay(self, start: int) -> list[EventBatch]:
        """Batches from sequence `start` on that the engine still keeps, so the first may be a later one.

        Raises `ReplayUnavailable` where there is no replay endpoint or no whole answer in time.
        """
        if self._info.replay_endpoint is None:
            raise ReplayUnavailable("this replica has no replay endpoint")
        socket = _context().socket(zmq.DEALER)
        try:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE)
            socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
            socket.connect(self._info.replay_endpoint)
            async with asyncio.timeout(self._replay_timeout_s):
                await socket.send_multipart([b"", start.to_bytes(8, "big")])
                return await self._read_replay(socket)
        except TimeoutError as error:
            raise ReplayUnavailable(
                f"no whole answer from {self._info.replay_endpoint} within {self._replay_timeout_s} s"
            ) from error
        finally:
            socket.close()

    async def _read_replay(self, socket: zmq.asyncio.Socket) -> list[EventBatch]:
        batches: list[EventBatch] = []
        while True:
            frames = await socket.recv_multipart()
            if END_OF_REPLAY in frames[1:3]:
                return batches
            # An empty delimiter, then the topic (since 0.26), the sequence number and the batch.
            batches.append(self._read([b"", *frames[1:]] if len(frames) == 3 else frames[1:]))

    def _read(self, frames: list[bytes]) -> EventBatch:
        if len(frames) != 3 or len(frames[1]) != 8:
            raise ValueError(
                f"a KV event message has 3 frames with 8 bytes in the second, not {[len(part) for part in frames]}"
            )
        return decode_batch(frames[2], int.from_bytes(frames[1], "big"), rank=self._info.rank, on_unknown=self._count_unknown)

    def _count_unknown(self, _kind: str) -> None:
        self.num_unknown += 1


def _context() -> zmq.asyncio.Context:
    """One context for the process: each holds a thread."""
    return zmq.asyncio.Context.instance()
