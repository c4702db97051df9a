"""What is written down of the runtime table; the process that holds the table puts it into a file."""

from __future__ import annotations

import msgspec

from turnwise.tools_gateway.values import Fate, UpstreamName

VERSION = 1


class ToolState(msgspec.Struct, frozen=True, array_like=True):
    """One tool. Run times are 32-bit floats of this machine, the newest last; what was cut off is negative."""

    upstream: UpstreamName
    tool: str
    age_s: float
    """How long ago it last ran."""
    size: int | None
    runs: bytes
    sizes: dict[int, bytes]
    errors: bytes
    fates: dict[Fate, float]


class TableState(msgspec.Struct, frozen=True, array_like=True):
    """The whole table."""

    tools: list[ToolState]
    """The one that has not run for longest first."""
    upstreams: dict[UpstreamName, tuple[float, float, float]]
    everything: tuple[float, float, float]
