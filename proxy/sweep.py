"""Housekeeping, a task each: the index forgets a slice at a time, and programs are told of as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from turnwise.index import KvIndex
from turnwise.proxy.export.record import Recorder

PROGRAMS_INTERVAL_S = 0.1
"""Pause between two looks for calls and programs that have ended, while no calls come."""

PROGRAMS_PAUSE_S = 0.008
"""Pause while they come: told of together, those of a tenth of a second of a busy proxy hold other calls for milliseconds."""

LULL_WITHIN = 4
"""Turns of the loop among which one without calls is waited for."""


async def keep_swept(index: KvIndex, clock: Callable[[], float], *, pause_s: float) -> None:
    """Sweep until cancelled; pause once nothing is left to do, and between slices let others run."""
    while True:
        has_more = index.sweep(clock())
        await asyncio.sleep(0 if has_more else pause_s)


async def keep_told(recorder: Recorder) -> None:
    """Tell of calls and programs as they end, and of breaks that were learned late, until cancelled.

    A few at a time, in a turn of the loop that had no calls to serve; while there are more than can wait, in each turn.
    """
    num_steps = recorder.num_steps
    while True:
        await _lull(recorder)
        recorder.tell_calls()
        await _lull(recorder)
        recorder.check_late()
        while recorder.sweep_programs():
            await asyncio.sleep(0)
            recorder.check_late()
        pause_s = PROGRAMS_INTERVAL_S if recorder.num_steps == num_steps else PROGRAMS_PAUSE_S
        num_steps = recorder.num_steps
        await asyncio.sleep(pause_s)


async def _lull(recorder: Recorder) -> None:
    """Wait for a turn of the loop in which no call has begun or ended, but not for many."""
    for _ in range(LULL_WITHIN):
        before = recorder.num_steps
        await asyncio.sleep(0)
        if recorder.num_steps == before:
            break
