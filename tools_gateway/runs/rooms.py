"""What the runs need of the other rooms, and of the process: handed on as one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from turnwise.tools_gateway.ports import Audit, Forecaster, Guard, Meter, Registry, Upstreams
from turnwise.tools_gateway.schedule import Slots
from turnwise.tools_gateway.settings import Limits
from turnwise.tools_gateway.values import UpstreamName


class Rooms(NamedTuple):
    """All that a run asks of others."""

    upstreams: Upstreams
    registry: Registry
    forecaster: Forecaster
    guard: Guard
    audit: Audit
    meter: Meter
    slots: Slots
    limits: Limits
    max_running: dict[UpstreamName, int]
    """Runs at once on one credential, by upstream."""
    clock: Callable[[], float]
    """Seconds of CLOCK_MONOTONIC, or of a virtual clock."""
