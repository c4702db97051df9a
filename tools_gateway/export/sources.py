"""Where metrics and the page of tools look, each time that somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from turnwise.tools_gateway.export.meter import CallMeter
from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.ports import Loads
from turnwise.tools_gateway.upstreams import SessionFacts
from turnwise.tools_gateway.values import Tool


@dataclass(frozen=True)
class Sources:
    """All of them."""

    meter: CallMeter
    table: RunTable
    loads: Loads
    tools: Callable[[], Sequence[Tool]]
    """All that are known, of all tenants, those that may not be called too."""
    sessions: Callable[[], Sequence[SessionFacts]]
    complaints: Callable[[], list[str]]
    """What upstreams list amiss, and what the operator's file says of tools that they do not have."""
    audit_failures: Callable[[], int]
    notices_dropped: Callable[[], int]
    clock: Callable[[], float]
    """The one on which runs are observed."""
