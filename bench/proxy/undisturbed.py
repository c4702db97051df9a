"""A machine that is left to what it measures: its cores stay awake, and what was taken from them is known."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

LATENCY = Path("/dev/cpu_dma_latency")
"""While it is open, no core sleeps from which it wakes later than what was written there, in microseconds."""
STAT = Path("/proc/stat")
STOLEN = 8
"""Where a core's line of `STAT` tells how long the host ran others on it."""


@contextlib.contextmanager
def awake(latency: Path = LATENCY) -> Iterator[bool]:
    """Keep all cores awake meanwhile; tells whether the system allows it.

    The host of a virtual machine gives a core that sleeps to others. Of a core that idled a third of the time it kept 8 % then,
    and half of the calls took 2 ms that take 0.7 on one that is awake.
    """
    try:
        descriptor = os.open(latency, os.O_WRONLY)
    except OSError:
        yield False
        return
    try:
        os.write(descriptor, struct.pack("i", 0))
        yield True
    finally:
        os.close(descriptor)


def stolen_s(stat: Path = STAT) -> dict[str, float]:
    """How long each core was another virtual machine's since the start, by its name."""
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    lines = (line.split() for line in stat.read_text(encoding="ascii").splitlines())
    return {words[0]: int(words[STOLEN]) / ticks_per_s for words in lines if words[0].removeprefix("cpu").isdecimal()}
