"""What `GET /tools` answers; those who ask read it as these values."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from turnwise.tools_gateway.values import Marks, ToolState


class ToolRow(msgspec.Struct, frozen=True, kw_only=True):
    """One tool; seconds, and numbers of calls since the gateway began."""

    name: str
    upstream: str
    state: ToolState
    why: str
    """In a few words, where it may not be called."""
    marks: Marks
    p10_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    num_samples: float
    """Runs by which these are told; 0 where they are a guess by those of others."""
    success: float
    """Share of the last runs that ended well."""
    error_p50_s: float | None
    """How long it takes to end with an error of its own; None where it never did."""
    running: int
    queued: int
    calls: int
    shared: int
    remembered: int
    joined: int
    """Calls that met a run which had begun before them."""
    unclaimed: int
    """Early runs that nobody asked for."""
    void: Mapping[str, int]
    """Early runs whose turn did not end cleanly, by why."""
    not_early: Mapping[str, int]
    """Announced calls whose arguments had closed and that waited for their agent all the same, by why."""
    run_s: float
    """Time spent in runs."""
    saved_s: float
    last_fault: str
    """Why a call had no result last; empty where none failed."""
    last_fault_age_s: float | None


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One session with an upstream."""

    upstream: str
    credential: str
    state: str
    era: str
    num_dials: int
    num_faults: int
    in_flight: int
    last_fault: str
    next_dial_s: float


class ToolsPage(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    tools: list[ToolRow]
    sessions: list[SessionRow]
    announcements: Mapping[str, int]
    """By what became of them."""
    memory_bytes: int
    audit_failures: int
    complaints: list[str] = []
    """Of what upstreams list amiss, or not although the operator's file names it: sentences, the upstream first."""
