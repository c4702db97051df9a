"""The record of a call: what its turn and its last attempt say, put together once."""

from __future__ import annotations

from turnwise.proxy.programs.turn import Turn
from turnwise.proxy.programs.values import Call, Times
from turnwise.types import Outcome


def settled(turn: Turn, outcome: Outcome, *, is_final: bool) -> Call:
    """The record of a call that a replica was tried for."""
    usage = outcome.usage
    # By position, in the order of the fields: by name, as many arguments take several times as long.
    times = Times(
        outcome.arrived_at,
        outcome.read_at,
        outcome.read_at,
        outcome.booked_at,
        outcome.sent_at,
        outcome.head_at,
        outcome.first_token_at,
        outcome.first_visible_at,
        outcome.last_byte_at,
        outcome.ended_at,
        outcome.first_tool_at,
    )
    return Call(
        turn.call_id,
        outcome.request_id,
        turn.agent,
        turn.number,
        turn.basis,
        turn.links,
        times,
        outcome.dialect,
        outcome.model,
        outcome.placement.replica,
        outcome.status,
        outcome.reason,
        outcome.is_stream,
        outcome.attempt,
        turn.attempts,
        outcome.finish_reason,
        outcome.response_id,
        outcome.placement.prompt_tokens if usage is None else usage.prompt_tokens,
        None if usage is None else usage.cached_tokens,
        outcome.placement.hit.tokens,
        None if usage is None else usage.completion_tokens,
        outcome.max_tokens,
        outcome.tool_calls,
        turn.runs,
        is_final,
        turn.client_trace,
        turn.agent_name,
        None,
        outcome.placement.terms.total_s if outcome.placement.costs_s else None,
    )


def dropped(turn: Turn, reason: str, now: float) -> Call:
    """The record of a call that no replica was tried for."""
    request = turn.request
    return Call(
        turn.call_id,
        request.request_id,
        turn.agent,
        turn.number,
        turn.basis,
        turn.links,
        Times(request.arrived_at, request.read_at, now, now, ended=now),
        request.dialect,
        request.model,
        None,
        None,
        reason,
        request.is_stream,
        0,
        turn.attempts,
        None,
        None,
        0,
        None,
        0,
        None,
        request.max_tokens,
        (),
        turn.runs,
        is_final=False,
        client_trace=turn.client_trace,
        agent_name=turn.agent_name,
    )
