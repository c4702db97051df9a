"""A program that starts has the processor only while nobody else wants it.

A start takes seconds of it: beside one, ten servers on two cores waited twice as long for theirs, and calls with them. The
weakest nice value hardly helps: it leaves more to others, but who wakes up still waits for the next tick. `SCHED_IDLE` gives
way at once.
"""

from __future__ import annotations

import logging
import os
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

STARTING_S = 1.5
"""For how long at most: where no processor is ever idle, a program would never have started otherwise."""

_NICE_0 = 20
"""What RLIMIT_NICE must be at least for a process to go back to where all processes begin."""

_CAP_SYS_NICE = 1 << 23
_LOOKS = 5
_DEFAULT = os.sched_param(0)


@cache
def can_be_taken_back() -> bool:
    """Whether the gateway may give a program back what it was without; only then is it without."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NICE)
    is_able = allowed == resource.RLIM_INFINITY or allowed >= _NICE_0 or bool(_capabilities() & _CAP_SYS_NICE)
    if not is_able:
        log.debug("programs start as eagerly as all else: there is neither a RLIMIT_NICE of %d nor CAP_SYS_NICE", _NICE_0)
    return is_able


def take_back(group: int) -> None:
    """Have all threads of a process group give way no more, those that come to be meanwhile among them."""
    for _ in range(_LOOKS):
        giving = [thread for thread in _threads(group) if _gives_way(thread)]
        for thread in giving:
            with suppress(OSError):
                os.sched_setscheduler(thread, os.SCHED_OTHER, _DEFAULT)
        if not giving:
            return


def _gives_way(thread: int) -> bool:
    """Whether it does, and still runs."""
    with suppress(ProcessLookupError):
        return os.sched_getscheduler(thread) == os.SCHED_IDLE
    return False


def _threads(group: int) -> list[int]:
    """Of all processes of a group."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if os.getpgid(int(process.name)) == group:
                    found += (int(thread.name) for thread in (process / "task").iterdir())
    return found


def _capabilities() -> int:
    """Those in effect, as bits."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
