"""What a supervisor and its workers say to one another over the worker's standard input and output: one line each."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.proxy.workers.ports import Seat
from turnwise.settings import Settings

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Of an order: the settings of a fleet of ten thousand replicas take a tenth of it."""


class Order(msgspec.Struct, frozen=True):
    """The first line that a worker reads, as JSON: what to serve, and its place."""

    settings: Settings
    seat: Seat


class Command(StrEnum):
    """Every later line. The end of the input is a `STOP`: the supervisor is gone."""

    STOP = "stop"
    """Let running calls end."""
    CUT = "cut"
    """Do not wait for them."""


READY = b"ready\n"
"""What a worker writes once it serves."""
