"""What the proxy asks of the tools gateway; the gateway is a process of its own, so every call may fail with `OSError`.

A call is announced when its name is known in the model's stream, filled when its arguments are whole, and settled when the turn
has ended: only then may a result reach the agent. The gateway decides by the operator's file whether anything runs before that.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from turnwise.types import CallId


class AnnouncedTool(msgspec.Struct, frozen=True):
    """A tool call that a model has begun to write."""

    turn: CallId
    """The model's call in whose stream it appears."""
    index: int
    """Its place among the tool calls of that turn."""
    tool: str
    """Name as the model wrote it; the gateway resolves aliases."""
    tenant: str


class FilledTool(msgspec.Struct, frozen=True):
    """A tool call whose arguments have closed."""

    announced: AnnouncedTool
    arguments: bytes
    """One JSON object, parsed strictly; nothing auto-closed."""


class ToolForecast(msgspec.Struct, frozen=True):
    """How long a tool is expected to run, in seconds, from `num_samples` runs."""

    p50_s: float
    p90_s: float
    p99_s: float
    num_samples: int


class ToolsGateway(Protocol):
    """The gateway as the proxy drives it."""

    async def announce(self, tool: AnnouncedTool) -> None:
        """Prepare a tool: connection, credential, schema, a place in its queue."""

    async def fill(self, tool: FilledTool) -> None:
        """Give the arguments; a tool marked read-only, idempotent and bounded may start."""

    async def settle(self, turn: CallId, *, is_clean: bool) -> None:
        """End a turn: release results if it ended cleanly, cancel and audit what ran if it did not."""

    async def forecast(self, tool: str, argument_bytes: int) -> ToolForecast | None:
        """Say how long a tool will run; None where nothing is known of it."""
