"""What is known of sessions, for metrics, pages and people."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.tools_gateway.values import UpstreamName


class State(StrEnum):
    """Where a session stands; only `UP` takes requests."""

    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"
    """It will be dialled again within seconds."""
    BROKEN = "broken"
    """Its program has been started as often as it may for now, and waits longer."""


class SessionFacts(msgspec.Struct, frozen=True, gc=False):
    """One session."""

    upstream: UpstreamName
    credential: str
    """The first eight characters of its id: enough to tell sessions apart."""
    state: State
    era: str
    """Revision of MCP that was agreed on; empty before."""
    num_dials: int
    """How often it was dialled, the first time included."""
    num_faults: int
    """Requests that ended in a fault of the upstream."""
    in_flight: int
    last_fault: str
    """In words; empty for none."""
    next_dial_s: float
    """How long until it is dialled again; 0 where it stands."""
    pid: int | None
    """Of its program; None over HTTP."""
