"""A process that runs only where a core is idle."""

from __future__ import annotations

import os
from contextlib import suppress


def give_way() -> None:
    """Let all others go first, from now on, as far as the system lets the calling process."""
    with suppress(OSError):  # a filter of system calls may forbid it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
