"""What the tools gateway tells, in the words of programs."""

from __future__ import annotations

from turnwise.events import ToolEvent
from turnwise.tools_gateway.messages import ToolTold, Void


def event_of(told: ToolTold) -> ToolEvent:
    """A run on the clock that both share; a time that has not come is that of the message."""
    queued_at = told.at if told.queued_at is None else told.queued_at
    started_at = told.at if told.started_at is None else told.started_at
    return ToolEvent(
        told.id,
        queued_at,
        started_at,
        told.at if told.ended_at is None else told.ended_at,
        told.is_ok,
        told.how,
        told.claimed_at,
        told.predicted_s,
        told.step,
        told.remaining_s,
        told.at,
        told.turn,
        told.tool,
        told.why is Void.EXPIRED,
    )
