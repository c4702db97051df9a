"""The spans of one call, made when it has ended: a pure function of its record.

The call and its tool runs are children of the program's root, the steps of the call are children of the call. A step whose time
never came or is nothing is left out, such as the wait for admission where nobody had to wait.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from turnwise import span_names as names
from turnwise.proxy.export.otlp import wire
from turnwise.proxy.export.otlp.wire import Kind
from turnwise.proxy.programs.spans import Part, attempt_span, span_id, tool_span
from turnwise.proxy.programs.values import Attempt, Call, Key, ToolRun
from turnwise.types import DialectName

_CONVERSATION = wire.text(names.CONVERSATION)
_SESSION = wire.text(names.SESSION)
_PROGRAM = wire.text(names.PROGRAM)
_OPERATION = wire.word(names.OPERATION)
_MODEL = wire.word(names.REQUEST_MODEL)
_ANSWERED_BY = wire.word(names.RESPONSE_MODEL)
_IS_STREAM = wire.boolean(names.IS_STREAM)
_MAX_TOKENS = wire.integer(names.MAX_TOKENS)
_RESPONSE_ID = wire.text(names.RESPONSE_ID)
_FINISH = wire.texts(names.FINISH_REASONS)
_FIRST_CHUNK = wire.number(names.FIRST_CHUNK)
_INPUT = wire.integer(names.INPUT_TOKENS)
_OUTPUT = wire.integer(names.OUTPUT_TOKENS)
_CACHED = wire.integer(names.CACHED_TOKENS)
_AGENT_NAME = wire.word(names.AGENT_NAME)
_ERROR = wire.word(names.ERROR)
_STATUS = wire.integer(names.STATUS)
_TOOL_NAME = wire.word(names.TOOL_NAME)
_TOOL_CALL_ID = wire.text(names.TOOL_CALL_ID)
_CALL = wire.text(names.CALL)
_REQUEST = wire.text(names.REQUEST)
_DIALECT = wire.word(names.DIALECT)
_AGENT = wire.integer(names.AGENT)
_TURN = wire.integer(names.TURN)
_BASIS = wire.word(names.BASIS)
_IS_FINAL = wire.boolean(names.IS_FINAL)
_DEPS = wire.texts(names.DEPS)
_REPLICA = wire.word(names.REPLICA)
_ATTEMPT = wire.integer(names.ATTEMPT)
_PREDICTED = wire.integer(names.PREDICTED_TOKENS)
_COST = wire.number(names.COST)
_REPORTED = wire.integer(names.REPORTED_TOKENS)
_FIRST_VISIBLE = wire.number(names.FIRST_VISIBLE)
_INFERRED = wire.boolean(names.INFERRED)
_TOOL_HOW = wire.word(names.TOOL_HOW)
_TOOL_JOINED = wire.boolean(names.TOOL_JOINED)
_TOOL_QUEUE = wire.number(names.TOOL_QUEUE_SECONDS)
_TOOL_RUN = wire.number(names.TOOL_RUN_SECONDS)
_TOOL_PREDICTED = wire.number(names.TOOL_PREDICTED_SECONDS)
_TOOL_SAVED = wire.number(names.TOOL_SAVED_SECONDS)
_TOOL_HELD = wire.number(names.TOOL_HELD_SECONDS)

_VLLM = wire.word(names.PROVIDER)(names.PROVIDER_NAME)
_TOOL_OPERATION = _OPERATION(names.TOOL)
_QUEUE = wire.span_name(names.QUEUE)
_ROUTE = wire.span_name(names.ROUTE)
_UPSTREAM = wire.span_name(names.UPSTREAM)
_PREFILL = wire.span_name(names.PREFILL)
_DECODE = wire.span_name(names.DECODE)

WallClock = Callable[[float], int]
"""Nanoseconds since 1970 of a moment on the clock of the calls."""


@lru_cache(maxsize=1024)
def identity(program: str, session: str) -> bytes:
    """What every span of a program says."""
    conversation = session or program
    return _CONVERSATION(conversation) + _SESSION(conversation) + _PROGRAM(program)


def call_spans(key: Key, call: Call, wall_ns: WallClock) -> list[bytes]:
    """Make the spans of a finished call and of the tool runs whose results it brought, each a field `spans`."""
    spans = [
        run_span(key, run, tool_run_span(run, position), wall_ns, "" if run.is_inferred else run.how.value)
        for position, run in enumerate(call.runs)
    ]
    chat = span_id(call.call_id, Part.CHAT)
    spans.append(_chat(key, call, chat, wall_ns))
    times, common = call.times, identity(key.id, key.session)

    def add(part: bytes, name: bytes, start: float, end: float, attributes: bytes, *, error: str = "", kind: Kind) -> None:
        spans.append(
            wire.span(key.trace_id, part, chat, name, kind, wall_ns(start), wall_ns(end), common + attributes, b"", error)
        )

    def step(part: Part, name: bytes, start: float, end: float, attributes: bytes = b"") -> None:
        if end > start:
            add(span_id(call.call_id, part), name, start, end, attributes, kind=Kind.INTERNAL)

    first_placed = call.attempts[0].placed if call.attempts else None
    admitted = times.admitted if first_placed is None else min(times.admitted, first_placed)
    step(Part.QUEUE, _QUEUE, times.read, admitted)
    chosen_from = admitted
    for attempt in call.attempts:
        tried = _tried(attempt)
        failed = _REPLICA(attempt.replica) + _ATTEMPT(attempt.number) + _ERROR(attempt.reason)
        span = attempt_span(call.call_id, attempt.number)
        add(span, _UPSTREAM, tried, attempt.ended, failed, error=attempt.reason, kind=Kind.CLIENT)
        chosen_from = attempt.ended
    if call.replica is None:
        return spans
    replica = _REPLICA(call.replica)
    reported = b"" if call.cached_tokens is None else _REPORTED(call.cached_tokens)
    cost = b"" if call.cost_s is None else _COST(call.cost_s)
    step(Part.ROUTE, _ROUTE, chosen_from, times.placed, replica + _PREDICTED(call.predicted_tokens) + reported + cost)
    last_byte = times.ended if times.last_byte is None else times.last_byte
    upstream = replica + _ATTEMPT(call.attempt)
    if call.status is not None:
        upstream += _STATUS(call.status)
    if call.reason:
        upstream += _ERROR(call.reason)
    span = attempt_span(call.call_id, call.attempt)
    add(span, _UPSTREAM, times.placed, last_byte, upstream, error=call.reason, kind=Kind.CLIENT)
    if times.sent is not None and times.first_token is not None:
        # An answer that comes in one piece has no first token to tell its prefill by.
        decodes_from = times.first_token if call.is_stream else times.sent
        cached = b"" if call.cached_tokens is None else _CACHED(call.cached_tokens)
        step(Part.PREFILL, _PREFILL, times.sent, decodes_from, cached)
        generated = b"" if call.completion_tokens is None else _OUTPUT(call.completion_tokens)
        step(Part.DECODE, _DECODE, decodes_from, last_byte, generated)
    return spans


def tool_run_span(run: ToolRun, position: int) -> bytes:
    """Name the span of a tool run; `position` among those of its call tells runs apart whose API gives no ids."""
    return tool_span(run.caller, run.id or f"#{position}")


def _chat(key: Key, call: Call, chat: bytes, wall_ns: WallClock) -> bytes:
    operation = names.COMPLETION if call.dialect is DialectName.COMPLETIONS else names.CHAT
    times = call.times
    links, deps = _links(key, call)
    parts = [
        identity(key.id, key.session),
        _OPERATION(operation),
        _VLLM,
        _CALL(call.call_id),
        _REQUEST(call.request_id),
        _DIALECT(call.dialect.value),
        _BASIS(call.basis.value),
        _AGENT(call.agent),
        _TURN(call.turn),
        _IS_STREAM(call.is_stream),
        _IS_FINAL(call.is_final),
        _INPUT(call.prompt_tokens),
    ]
    if call.model is not None:
        parts.append(_MODEL(call.model))
        if call.status == 200:
            parts.append(_ANSWERED_BY(call.model))
    if call.replica is not None:
        parts.append(_REPLICA(call.replica))
    if call.status is not None:
        parts.append(_STATUS(call.status))
    if call.reason:
        parts.append(_ERROR(call.reason))
    if call.agent_name:
        parts.append(_AGENT_NAME(call.agent_name))
    if call.max_tokens is not None:
        parts.append(_MAX_TOKENS(call.max_tokens))
    if call.response_id is not None:
        parts.append(_RESPONSE_ID(call.response_id))
    if call.finish_reason is not None:
        parts.append(_FINISH((call.finish_reason,)))
    if call.completion_tokens is not None:
        parts.append(_OUTPUT(call.completion_tokens))
    if call.cached_tokens is not None:
        parts.append(_CACHED(call.cached_tokens))
    if call.is_stream and times.first_token is not None:
        parts.append(_FIRST_CHUNK(times.first_token - times.arrived))
    if times.first_visible is not None:
        parts.append(_FIRST_VISIBLE(times.first_visible - times.arrived))
    if deps:
        parts.append(_DEPS(deps))
    return wire.span(
        key.trace_id,
        chat,
        key.root_span,
        wire.span_name(operation, call.model or "unknown"),
        Kind.SERVER,
        wall_ns(times.arrived),
        wall_ns(times.ended),
        b"".join(parts),
        links,
        call.reason,
    )


def _links(key: Key, call: Call) -> tuple[bytes, list[str]]:
    """The call's links as fields of its span, and as texts for backends that drop links."""
    made, deps = b"", []
    for link in call.links:
        span = span_id(link.call_id, Part.CHAT)
        made += wire.link(link.trace_id or key.trace_id, span, link.kind.value)
        deps.append(f"{span.hex()}:{link.kind.value}")
    for position, run in enumerate(call.runs):
        span = tool_run_span(run, position)
        made += wire.link(key.trace_id, span, names.TOOL_RESULT)
        deps.append(f"{span.hex()}:{names.TOOL_RESULT}")
    if call.client_trace is not None:
        span = call.client_trace[16:]
        made += wire.link(call.client_trace[:16], span, names.CLIENT_TRACE)
        deps.append(f"{span.hex()}:{names.CLIENT_TRACE}")
    return made, deps


def run_span(key: Key, run: ToolRun, span: bytes, wall_ns: WallClock, how: str) -> bytes:
    """The span of a tool run, a field `spans`; `how` is empty where nobody measured it."""
    attributes = identity(key.id, key.session) + _TOOL_OPERATION + _TOOL_NAME(run.name) + _INFERRED(run.is_inferred)
    if run.id:
        attributes += _TOOL_CALL_ID(run.id)
    if how:
        queued_s = 0.0 if run.queued_at is None else run.started_at - run.queued_at
        attributes += _TOOL_HOW(how) + _TOOL_QUEUE(queued_s) + _TOOL_RUN(run.ended_at - run.started_at)
        attributes += _TOOL_JOINED(run.has_joined) + _TOOL_SAVED(run.saved_s) + _TOOL_HELD(run.held_s)
        if run.predicted_s is not None:
            attributes += _TOOL_PREDICTED(run.predicted_s)
    return wire.span(
        key.trace_id,
        span,
        key.root_span,
        wire.span_name(names.TOOL, run.name),
        Kind.INTERNAL,
        wall_ns(run.started_at),
        wall_ns(run.ended_at),
        attributes,
        wire.link(key.trace_id, span_id(run.caller, Part.CHAT), names.TOOL_CALL),
    )


def _tried(attempt: Attempt) -> float:
    """When a failed attempt began."""
    if attempt.placed is not None:
        return attempt.placed
    return attempt.ended if attempt.sent is None else attempt.sent
