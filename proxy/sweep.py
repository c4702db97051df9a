"""The housekeeping of the index: a task that lets it forget, a slice at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from turnwise.index import KvIndex


async def keep_swept(index: KvIndex, clock: Callable[[], float], *, pause_s: float) -> None:
    """Sweep until cancelled; pause once nothing is left to do, and between slices let others run."""
    while True:
        has_more = index.sweep(clock())
        await asyncio.sleep(0 if has_more else pause_s)
