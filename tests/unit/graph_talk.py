"""Calls for tests of the session graph: prompts of (kind, text), where a byte is a token, and what answered them."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from turnwise.index import prompt_chain
from turnwise.proxy.programs.graph import Begun
from turnwise.proxy.programs.shape import Hinted, Shape
from turnwise.proxy.programs.values import Basis, Call, Times
from turnwise.turns import NO_HINTS, Hints, ToolCall
from turnwise.types import (
    Answer,
    CallId,
    DialectName,
    Hit,
    LastAnswer,
    Outcome,
    Placement,
    Prompt,
    ReplicaId,
    Request,
    SegmentKind,
    Terms,
    Usage,
)

Turns = Sequence[tuple[SegmentKind, str]]
RATE = 0.25
"""Tokens per byte that graphs in tests estimate by; a quarter of the truth."""


def said(text: str = "", calls: str = "", reasoning: str = "") -> Answer:
    """What an answer of these parts says."""
    return Answer(*(xxh3_64_intdigest(part.encode()) if part else 0 for part in (text, calls, reasoning)))


def request(turns: Turns, says: Answer | None = None, *, hints: Hints = NO_HINTS, continues: tuple[str, ...] = ()) -> Request:
    """A call of this prompt, whose last run of assistant turns says `says`."""
    kinds, answer = [kind for kind, _ in turns], None
    if says is not None:
        last = len(kinds) - 1 - kinds[::-1].index(SegmentKind.ASSISTANT)
        first = last
        while first and kinds[first - 1] is SegmentKind.ASSISTANT:
            first -= 1
        answer = LastAnswer(first, last, says)
    prompt = Prompt(b"m", tuple(kinds), tuple(text.encode() for _, text in turns), answer)
    return Request(
        CallId("tw-1"),
        "r-1",
        DialectName.CHAT,
        "POST",
        "/v1/chat/completions",
        (),
        b"",
        0.0,
        0.0,
        "m",
        prompt_chain(prompt),
        continues=continues,
        prompt=prompt,
        hints=hints,
    )


def outcome(
    prompt_tokens: int | None,
    completion_tokens: int = 0,
    answer: Answer | None = None,
    tools: tuple[ToolCall, ...] = (),
    *,
    believed_tokens: int = 0,
    visible_at: float | None = None,
) -> Outcome:
    """What became of a call whose tokens come from time 1 to 2; `prompt_tokens` is None where the engine does not say."""
    usage = None if prompt_tokens is None else Usage(prompt_tokens, completion_tokens)
    placement = Placement(ReplicaId("a"), "p", "r", believed_tokens, is_taught=False, hit=Hit(), terms=Terms())
    return Outcome(
        call_id=CallId("tw-1"),
        request_id="r-1",
        dialect=DialectName.CHAT,
        model="m",
        max_tokens=None,
        num_choices=1,
        is_stream=True,
        unhashed_bytes=0,
        arrived_at=0.0,
        read_at=0.0,
        placement=placement,
        attempt=0,
        status=200,
        is_complete=True,
        has_started=True,
        is_client_gone=False,
        fault=None,
        usage=usage,
        finish_reason="stop",
        booked_at=0.0,
        sent_at=0.0,
        head_at=1.0,
        first_byte_at=1.0,
        first_token_at=1.0,
        first_visible_at=visible_at,
        last_byte_at=2.0,
        ended_at=2.0,
        body_bytes=1,
        answer=answer,
        tool_calls=tools,
    )


def begun(asked: Request, agent: int, turn: int, hinted: Hinted | None = None) -> Begun:
    """A call that begins, as graphs take it in."""
    assert asked.chain is not None
    assert asked.prompt is not None
    return Begun(agent, turn, asked.model, asked.chain, asked.prompt.kinds, hinted, bool(asked.continues))


def ended(agent: int, turn: int, done: Outcome | None) -> Call:
    """The same once it has ended, as graphs take it in; None is for one that no replica was tried for."""
    usage = None if done is None else done.usage
    return Call(
        CallId("tw-1"),
        "r-1",
        agent,
        turn,
        Basis.NEW,
        (),
        Times(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, None if done is None else done.first_visible_at, 2.0, 2.0),
        DialectName.CHAT,
        "m",
        None if done is None else done.placement.replica,
        200,
        "",
        is_stream=True,
        attempt=0,
        attempts=(),
        finish_reason="stop",
        response_id=None,
        prompt_tokens=usage.prompt_tokens if usage else done.placement.prompt_tokens if done else 0,
        cached_tokens=None,
        predicted_tokens=0,
        completion_tokens=None if usage is None else usage.completion_tokens,
        max_tokens=None,
        tools=() if done is None else done.tool_calls,
        runs=(),
        is_final=False,
        shape=Shape(0, None, None if done is None else done.answer, None),
    )
