"""Housekeeping, a task each: the index forgets a slice at a time, and programs are told of as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from turnwise.index import KvIndex
from turnwise.proxy.export.record import Recorder

PROGRAMS_INTERVAL_S = 0.1
"""Pause between two looks for programs whose time has come: a busy proxy has hundreds in a second, which calls would feel."""


async def keep_swept(index: KvIndex, clock: Callable[[], float], *, pause_s: float) -> None:
    """Sweep until cancelled; pause once nothing is left to do, and between slices let others run."""
    while True:
        has_more = index.sweep(clock())
        await asyncio.sleep(0 if has_more else pause_s)


async def keep_told(recorder: Recorder) -> None:
    """Tell of programs as they end, and of breaks that were learned late, until cancelled."""
    while True:
        recorder.check_late()
        has_more = recorder.sweep_programs()
        await asyncio.sleep(0 if has_more else PROGRAMS_INTERVAL_S)
