"""A subscription to one rank's KV events over ZMQ.

A ZMQ socket reconnects by itself and says nothing, and what was published meanwhile is lost. So its monitor is watched: the
source begins with the handshake, and ends with the first disconnection, of which heartbeats tell where the path is cut.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import zmq
from zmq.utils.monitor import parse_monitor_message

from turnwise.engines.base import FeedLost, ReplayUnavailable
from turnwise.engines.vllm.inbox import Inbox
from turnwise.engines.vllm.wire import END_OF_REPLAY, decode_batch
from turnwise.events import EventBatch, EventSourceInfo

logger = logging.getLogger(__name__)

MAX_DRAIN = 256
MAX_DRAIN_BYTES = 16 * 1024
"""Most batches given at once, and bytes after which no more are read, so that a flood does not hold the loop.

So many bytes tell of some 200 blocks, and are read in a tenth of a millisecond.
"""
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Larger messages end the connection: no scheduler step stores that much."""
RECEIVE_QUEUE = 100_000
"""Messages that may wait in the socket, as many as vLLM keeps on its side."""
HEARTBEAT_MS = 5_000
MAX_UNKNOWN = 16
"""Unknown types of events that are named once each; an engine has a few, nonsense has any number."""
RETRY_MS = 100
"""Pause between two attempts to connect."""


class ZmqEventSource:
    """An `EventSource` of a vLLM replica.

    Entering it waits at most `connect_timeout_s` seconds for the engine, `replay` at most `replay_timeout_s`.
    """

    def __init__(self, info: EventSourceInfo, *, connect_timeout_s: float = 5.0, replay_timeout_s: float = 5.0) -> None:
        self._info = info
        self._connect_timeout_s = connect_timeout_s
        self._replay_timeout_s = replay_timeout_s
        self._sockets = ExitStack()
        self._inbox: Inbox | None = None
        self._lost: asyncio.Task[None] | None = None
        """Done once the connection is gone."""
        self._fault: ValueError | None = None
        self._unknown: set[str] = set()

    async def __aenter__(self) -> Self:
        """Connect, and wait until the engine is there; raises `FeedLost` where it is not, or where its address is none."""
        with ExitStack() as sockets:
            socket = _context().socket(zmq.SUB)
            sockets.callback(socket.close)
            for option, value in (
                (zmq.LINGER, 0),
                (zmq.RCVHWM, RECEIVE_QUEUE),
                (zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES),
                (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
                (zmq.RECONNECT_IVL, RETRY_MS),
            ):
                socket.setsockopt(option, value)
            socket.setsockopt(zmq.SUBSCRIBE, self._info.topic.encode())
            monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            sockets.callback(monitor.close, 0)
            sockets.callback(socket.disable_monitor)
            inbox, news = Inbox(socket), Inbox(monitor)
            sockets.callback(inbox.close)
            sockets.callback(news.close)
            try:
                socket.connect(self._info.endpoint)
                async with asyncio.timeout(self._connect_timeout_s):
                    await _happens(news, zmq.EVENT_HANDSHAKE_SUCCEEDED)
            except zmq.ZMQError as error:
                raise FeedLost(f"{self._info.endpoint} cannot be connected to: {error}") from error
            except TimeoutError as error:
                raise FeedLost(f"no KV events from {self._info.endpoint} within {self._connect_timeout_s} s") from error
            self._lost = asyncio.create_task(_happens(news, zmq.EVENT_DISCONNECTED), name=f"watch {self._info.endpoint}")
            self._lost.add_done_callback(lambda _: inbox.wake())
            self._sockets, self._inbox = sockets.pop_all(), inbox
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the sockets."""
        with self._sockets:
            if self._lost is not None:
                self._lost.cancel()
                await asyncio.wait([self._lost])
        self._inbox = None

    async def receive(self) -> list[EventBatch]:
        """Wait for the next batches, at most `MAX_DRAIN`.

        Raises `ValueError` on a message that cannot be read: what came whole before it is given first, and what comes after
        it is not lost. Raises `FeedLost` once the connection is gone and all that had arrived was given.
        """
        inbox, lost = self._inbox, self._lost
        assert inbox is not None, "receive() is for an entered source"
        assert lost is not None
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        while (frames := inbox.take()) is None:
            if lost.done():
                raise FeedLost(f"the connection to {self._info.endpoint} is gone")
            await inbox.wait()
        batches = [self._read(frames)]
        num_bytes = len(frames[2])
        while len(batches) < MAX_DRAIN and num_bytes < MAX_DRAIN_BYTES and (frames := inbox.take()) is not None:
            try:
                batches.append(self._read(frames))
            except ValueError as error:
                self._fault = error
                break
            num_bytes += len(frames[2])
        return batches

    async def replay(self, start: int) -> list[EventBatch]:
        """Batches from sequence `start` on that the engine still keeps, so the first may be a later one.

        Raises `ReplayUnavailable` where there is no replay endpoint, no whole answer in time, or one that cannot be read.
        """
        if self._info.replay_endpoint is None:
            raise ReplayUnavailable("this replica has no replay endpoint")
        socket = _context().socket(zmq.DEALER)
        inbox = Inbox(socket)
        try:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE)
            socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
            socket.connect(self._info.replay_endpoint)
            async with asyncio.timeout(self._replay_timeout_s):
                socket.send_multipart([b"", start.to_bytes(8, "big")], zmq.NOBLOCK)
                return await self._read_replay(inbox)
        except zmq.ZMQError as error:
            raise ReplayUnavailable(f"{self._info.replay_endpoint} cannot be asked: {error}") from error
        except ValueError as error:
            raise ReplayUnavailable(str(error)) from error
        except TimeoutError as error:
            raise ReplayUnavailable(
                f"no whole answer from {self._info.replay_endpoint} within {self._replay_timeout_s} s"
            ) from error
        finally:
            inbox.close()
            socket.close()

    async def _read_replay(self, inbox: Inbox) -> list[EventBatch]:
        batches: list[EventBatch] = []
        while True:
            frames = await inbox.next()
            if END_OF_REPLAY in frames[1:3]:
                return batches
            await asyncio.sleep(0)  # a socket that has more does not wait, and an engine keeps ten thousand batches
            # An empty delimiter, then the topic (since 0.26), the sequence number and the batch.
            batches.append(self._read([b"", *frames[1:]] if len(frames) == 3 else frames[1:]))

    def _read(self, frames: list[bytes]) -> EventBatch:
        if len(frames) != 3 or len(frames[1]) != 8:
            raise ValueError(
                f"a KV event message has 3 frames with 8 bytes in the second, not {[len(part) for part in frames]}"
            )
        return decode_batch(frames[2], int.from_bytes(frames[1], "big"), rank=self._info.rank, on_unknown=self._note_unknown)

    def _note_unknown(self, kind: str) -> None:
        if kind not in self._unknown and len(self._unknown) < MAX_UNKNOWN:
            self._unknown.add(kind)
            logger.warning("KV events of type %s from %s are not known here and are left out", kind, self._info.endpoint)


async def _happens(news: Inbox, wanted: int) -> None:
    """Wait for an event of a monitored socket."""
    while parse_monitor_message(await news.next())["event"] != wanted:
        pass


def _context() -> zmq.SyncContext:
    """One context for the process: each holds a thread."""
    return zmq.Context.instance()
