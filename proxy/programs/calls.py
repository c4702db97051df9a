"""The record of a call: what its turn and its last attempt say, put together once."""

from __future__ import annotations

from turnwise.proxy.programs.lines import FINAL
from turnwise.proxy.programs.shape import Shape
from turnwise.proxy.programs.turn import Turn
from turnwise.proxy.programs.values import Call, Times
from turnwise.types import Outcome, Usage

MAX_TEXT_CHARS = 256
"""Of a name or an id that a client or an engine chose; what is longer is cut, for a record is kept as long as its program."""

MAX_COUNT_BITS = 63
MAX_COUNT = 2**MAX_COUNT_BITS - 1
"""The largest count that can be written down; clients may ask for any number of tokens, and engines tell of any."""


def settled(turn: Turn, outcome: Outcome) -> Call:
    """The record of a call that a replica was tried for."""
    placement, usage, chain = outcome.placement, outcome.usage, turn.chain
    model, finish_reason, response_id = outcome.model, outcome.finish_reason, outcome.response_id
    if model and len(model) > MAX_TEXT_CHARS:
        model = model[:MAX_TEXT_CHARS]
    if finish_reason and len(finish_reason) > MAX_TEXT_CHARS:
        finish_reason = finish_reason[:MAX_TEXT_CHARS]
    if response_id and len(response_id) > MAX_TEXT_CHARS:
        response_id = response_id[:MAX_TEXT_CHARS]
    max_tokens, completion_tokens, cached_tokens = outcome.max_tokens, None, None
    if usage is None:
        prompt_tokens = placement.prompt_tokens
    else:
        prompt_tokens, completion_tokens, cached_tokens = usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
        # A number that is negative or too large leaves something of all of them at once.
        if (prompt_tokens | completion_tokens | (cached_tokens or 0)) >> MAX_COUNT_BITS:
            prompt_tokens, cached_tokens, completion_tokens = _counted(usage)
    read_at = outcome.read_at
    # By position, in the order of the fields: by name, as many arguments take several times as long.
    times = Times(
        outcome.arrived_at,
        read_at,
        read_at,
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
        model,
        placement.replica,
        outcome.status,
        outcome.reason if outcome.fault is not None or outcome.is_client_gone else "",
        outcome.is_stream,
        outcome.attempt,
        turn.attempts,
        finish_reason,
        response_id,
        prompt_tokens,
        cached_tokens,
        placement.hit.tokens,
        completion_tokens,
        max_tokens if max_tokens is None or -MAX_COUNT <= max_tokens <= MAX_COUNT else None,
        outcome.tool_calls,
        turn.runs,
        turn.node.state is FINAL,
        turn.client_trace,
        turn.agent_name,
        None,
        placement.terms.total_s if placement.costs_s else None,
        Shape(len(chain.digests), chain.answer, outcome.answer, turn.hinted),
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
    return _count(usage.prompt_tokens) or 0, _count(usage.cached_tokens), _count(usage.completion_tokens)


def _count(number: int | None) -> int | None:
    return number if number is None or -MAX_COUNT <= number <= MAX_COUNT else None
