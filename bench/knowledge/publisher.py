"""A process that publishes KV events over ZMQ as vLLM does: SIGUSR1 begins a steady flow, SIGUSR2 ends it, SIGTERM the process.

    python -m bench.knowledge.publisher EVENTS_PORT REPLAY_PORT EVENTS_PER_S SEED

While it is silent its sockets stand, so that what is measured without a flow differs in nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import deque

import zmq
import zmq.asyncio
from bench.knowledge.feeding import payloads

from turnwise.engines.vllm.wire import END_OF_REPLAY

TOPIC = b"kv-events"
QUEUE = 100_000
KEPT = 1_000
"""Batches that are given again to who asks."""

Kept = deque[tuple[bytes, bytes]]


async def main(events_port: int, replay_port: int, events_per_s: float, seed: int) -> None:
    """Publish while told to; the same blocks come again only when the index has long lost them."""
    batches = payloads(seed)
    context = zmq.asyncio.Context()
    events, replays = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
    for socket, port in ((events, events_port), (replays, replay_port)):
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, QUEUE)
        socket.bind(f"tcp://127.0.0.1:{port}")
    flows, ends = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, flows.set)
    loop.add_signal_handler(signal.SIGUSR2, flows.clear)
    loop.add_signal_handler(signal.SIGTERM, ends.set)
    kept: Kept = deque(maxlen=KEPT)
    answering = asyncio.create_task(_answer(replays, kept))
    publishing = asyncio.create_task(_publish(events, batches, 1 / events_per_s, flows, kept))
    await ends.wait()
    for task in (answering, publishing):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    context.destroy()


async def _publish(socket: zmq.asyncio.Socket, batches: list[bytes], gap_s: float, flows: asyncio.Event, kept: Kept) -> None:
    loop = asyncio.get_running_loop()
    sequence = 0
    while True:
        await flows.wait()
        due = loop.time()
        while flows.is_set():
            kept.append((sequence.to_bytes(8, "big"), batches[sequence % len(batches)]))
            await socket.send_multipart([TOPIC, *kept[-1]])
            sequence += 1
            due += gap_s
            await asyncio.sleep(max(0.0, due - loop.time()))


async def _answer(socket: zmq.asyncio.Socket, kept: Kept) -> None:
    """Give what is kept from the number asked for on."""
    while True:
        client, _, start = await socket.recv_multipart()
        for number, payload in list(kept):
            if number >= start:
                await socket.send_multipart([client, b"", TOPIC, number, payload])
        await socket.send_multipart([client, b"", b"", END_OF_REPLAY, b""])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
