"""When the calls of a trace are sent: at its own times (open loop), or when a session is ready for the next (closed loop)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec

from turnwise.proxy.replay.trace import TraceCall, TraceSession

Send = Callable[[TraceSession, TraceCall], Awaitable[None]]


class Pacing(msgspec.Struct, frozen=True):
    """How a trace is played; every time of the trace is divided by `speedup`."""

    is_open: bool
    live: int = 64
    """Sessions that run at once in a closed loop."""
    ramp_s: float = 60.0
    """Within how long the first of them start."""
    think_cap_s: float = 300.0
    speedup: float = 1.0
    seed: int = 1


async def play(sessions: Sequence[TraceSession], pacing: Pacing, send: Send) -> None:
    """Send every call by `send`, which returns when its answer has ended; what it raises ends the replay."""
    await (_open(sessions, pacing, send) if pacing.is_open else _closed(sessions, pacing, send))


async def _open(sessions: Sequence[TraceSession], pacing: Pacing, send: Send) -> None:
    calls = sorted(((call.at_s, session, call) for session in sessions for call in session.calls), key=lambda entry: entry[0])
    loop = asyncio.get_running_loop()
    start = loop.time() - (calls[0][0] / pacing.speedup if calls else 0.0)
    async with asyncio.TaskGroup() as group:
        for at_s, session, call in calls:
            await asyncio.sleep(max(0.0, start + at_s / pacing.speedup - loop.time()))
            group.create_task(_finish(send(session, call)))


async def _closed(sessions: Sequence[TraceSession], pacing: Pacing, send: Send) -> None:
    rng = random.Random(pacing.seed)  # noqa: S311 - reproducible on purpose
    waiting = iter(sessions)
    count = min(pacing.live, len(sessions))
    starts = sorted(rng.uniform(0.0, pacing.ramp_s) for _ in range(count))
    async with asyncio.TaskGroup() as group:
        for start_s in starts:
            group.create_task(_play_in_turn(waiting, start_s / pacing.speedup, pacing, send))


async def _play_in_turn(waiting: Iterator[TraceSession], start_s: float, pacing: Pacing, send: Send) -> None:
    await asyncio.sleep(start_s)
    for session in waiting:
        await _play_session(session, pacing, send)


async def _play_session(session: TraceSession, pacing: Pacing, send: Send) -> None:
    """Send each call when those that it follows have ended and its client has thought."""
    ended = [asyncio.Event() for _ in session.calls]

    async def one(number: int, call: TraceCall) -> None:
        for earlier in call.after:
            await ended[earlier].wait()
        await asyncio.sleep(min(call.think_s, pacing.think_cap_s) / pacing.speedup)
        await send(session, call)
        ended[number].set()

    async with asyncio.TaskGroup() as group:
        for number, call in enumerate(session.calls):
            group.create_task(one(number, call))


async def _finish(sending: Awaitable[None]) -> None:
    await sending
