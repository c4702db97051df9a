"""The record of a call: what its turn and its last attempt say, put together once."""

from __future__ import annotations

from turnwise.proxy.programs.shape import Shape
from turnwise.proxy.programs.turn import Turn
from turnwise.proxy.programs.values import Call, Times
from turnwise.types import Outcome, Usage

MAX_TEXT_CHARS = 256
"""Of a name or an id that a client or an engine chose; what is longer is cut, for a record is kept as long as its program."""

MAX_COUNT = 2**63 - 1
"""The largest count that can be written down; clients may ask for any number of tokens, and engines tell of any."""


def settled(turn: Turn, outcome: Outcome, *, is_final: bool) -> Call:
    """The record of a call that a replica was tried for."""
    usage, model, finish_reason, response_id = outcome.usage, outcome.model, outcome.finish_reason, outcome.response_id
    max_tokens = outcome.max_tokens
    prompt_tokens, cached_tokens, completion_tokens = (
        (outcome.placement.prompt_tokens, None, None) if usage is None else _counted(usage)
    )
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
        model and model[:MAX_TEXT_CHARS],
        outcome.placement.replica,
        outcome.status,
        outcome.reason,
        outcome.is_stream,
        outcome.attempt,
        turn.attempts,
        finish_reason and finish_reason[:MAX_TEXT_CHARS],
        response_id and response_id[:MAX_TEXT_CHARS],
        prompt_tokens,
        cached_tokens,
        outcome.placement.hit.tokens,
        completion_tokens,
        max_tokens if max_tokens is None or -MAX_COUNT <= max_tokens <= MAX_COUNT else None,
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
        request.model and request.model[:MAX_TEXT_CHARS],
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


def _counted(usage: Usage) -> tuple[int, int | None, int | None]:
    """Tokens of the prompt, cached and generated, as far as they can be written down."""
    prompt, cached, completion = usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens
    # Compared one by one: `min` and `max` take as long as the rest of the record.
    if 0 <= prompt <= MAX_COUNT and 0 <= completion <= MAX_COUNT and (cached is None or 0 <= cached <= MAX_COUNT):
        return prompt, cached, completion
    return _count(prompt) or 0, _count(cached), _count(completion)


def _count(number: int | None) -> int | None:
    return number if number is None or -MAX_COUNT <= number <= MAX_COUNT else None
