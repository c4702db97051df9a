"""The record of a call: what its turn and its last attempt say, put together once."""

from __future__ import annotations

from turnwise.proxy.programs.shape import Shape
from turnwise.proxy.programs.turn import Turn
from turnwise.proxy.programs.values import Call, Times
from turnwise.types import Outcome

MAX_TEXT_CHARS = 256
"""Of a name or an id that a client or an engine chose; what is longer is cut, for a record is kept as long as its program."""

MAX_COUNT = 2**63 - 1
"""The largest count that can be written down; clients may ask for any number of tokens, and engines tell of any."""


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
        text(outcome.model),
        outcome.placement.replica,
        outcome.status,
        outcome.reason,
        outcome.is_stream,
        outcome.attempt,
        turn.attempts,
        text(outcome.finish_reason),
        text(outcome.response_id),
        outcome.placement.prompt_tokens if usage is None else _count(usage.prompt_tokens) or 0,
        None if usage is None else _count(usage.cached_tokens),
        outcome.placement.hit.tokens,
        None if usage is None else _count(usage.completion_tokens),
        _count(outcome.max_tokens),
        outcome.tool_calls,
        turn.runs,
        is_final,
        turn.client_trace,
        turn.agent_name,
        None,
        outcome.placement.terms.total_s if outcome.placement.costs_s else None,
        Shape(len(turn.chain.digests), turn.chain.answer, outcome.answer, turn.hinted),
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
        text(request.model),
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
        _count(request.max_tokens),
        (),
        turn.runs,
        is_final=False,
        client_trace=turn.client_trace,
        agent_name=turn.agent_name,
        shape=Shape(len(turn.chain.digests), turn.chain.answer, None, turn.hinted),
    )


def text(said: str | None) -> str | None:
    """What of a name or an id is kept."""
    return None if said is None else said[:MAX_TEXT_CHARS]


def _count(number: int | None) -> int | None:
    return number if number is None or -MAX_COUNT <= number <= MAX_COUNT else None
