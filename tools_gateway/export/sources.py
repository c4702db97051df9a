"""Where metrics and the page of tools look, each time that somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from turnwise.tools_gateway.export.meter import CallMeter
from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.ports import Loads
from turnwise.tools_gateway.values import Tool, UpstreamName


class Session(Protocol):
    """How a session with an upstream stands."""

    @property
    def upstream(self) -> UpstreamName:
        """Whose."""

    @property
    def credential(self) -> str:
        """Enough of its id to tell sessions apart."""

    @property
    def state(self) -> str:
        """In a word."""

    @property
    def era(self) -> str:
        """Revision of MCP that was agreed on; empty before."""

    @property
    def num_dials(self) -> int:
        """How often it was dialled, the first time included."""

    @property
    def num_faults(self) -> int:
        """Requests that ended in a fault of the upstream."""

    @property
    def in_flight(self) -> int:
        """Requests under way."""

    @property
    def last_fault(self) -> str:
        """In words; empty for none."""

    @property
    def next_dial_s(self) -> float:
        """How long until it is dialled again; 0 where it stands."""


@dataclass(frozen=True)
class Sources:
    """All of them."""

    meter: CallMeter
    table: RunTable
    loads: Loads
    tools: Callable[[], Sequence[Tool]]
    """All that are known, of all tenants, those that may not be called too."""
    sessions: Callable[[], Sequence[Session]]
    audit_failures: Callable[[], int]
    clock: Callable[[], float]
    """The one on which runs are observed."""
