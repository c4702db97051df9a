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
from turnwise.proxy.programs.values import Attempt, Basis, Call, Key, ToolRun
from turnwise.types import DialectName, ReplicaId

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
_UPSTREAM = wire.span_name(names.UPSTREAM, kind=Kind.CLIENT)
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
    call_id, times = call.call_id, call.times
    chat, common = span_id(call_id, Part.CHAT), identity(key.id, key.session)
    below = wire.place(key.trace_id, chat)
    spans = [
        run_span(key, run, tool_run_span(run, position), wall_ns, "" if run.is_inferred else run.how.value)
        for position, run in enumerate(call.runs)
    ]
    spans.append(_chat(key, call, chat, common, wall_ns))

    def add(span: bytes, name: bytes, start: float, end: float, said: bytes, error: str = "") -> None:
        spans.append(wire.span(below, span, name, wall_ns(start), wall_ns(end), common + said, error))

    first_placed = call.attempts[0].placed if call.attempts else None
    admitted = times.admitted if first_placed is None else min(times.admitted, first_placed)
    if admitted > times.read:
        add(span_id(call_id, Part.QUEUE), _QUEUE, times.read, admitted, b"")
    chosen_from = admitted
    for tried in call.attempts:
        why = _upstream(tried.replica, tried.number, None, tried.reason)
        add(attempt_span(call_id, tried.number), _UPSTREAM, _tried(tried), tried.ended, why, tried.reason)
        chosen_from = tried.ended
    if call.replica is None:
        return spans
    placed, sent, token, cached = times.placed, times.sent, times.first_token, call.cached_tokens
    last_byte = times.ended if times.last_byte is None else times.last_byte
    if placed > chosen_from:
        route = _REPLICA(call.replica) + _PREDICTED(call.predicted_tokens)
        if cached is not None:
            route += _REPORTED(cached)
        if call.cost_s is not None:
            route += _COST(call.cost_s)
        add(span_id(call_id, Part.ROUTE), _ROUTE, chosen_from, placed, route)
    upstream = _upstream(call.replica, call.attempt, call.status, call.reason)
    add(attempt_span(call_id, call.attempt), _UPSTREAM, placed, last_byte, upstream, call.reason)
    if sent is not None and token is not None:
        # An answer that comes in one piece has no first token to tell its prefill by.
        decodes_from = token if call.is_stream else sent
        if decodes_from > sent:
            add(span_id(call_id, Part.PREFILL), _PREFILL, sent, decodes_from, b"" if cached is None else _CACHED(cached))
        if last_byte > decodes_from:
            generated = b"" if call.completion_tokens is None else _OUTPUT(call.completion_tokens)
            add(span_id(call_id, Part.DECODE), _DECODE, decodes_from, last_byte, generated)
    return spans


def tool_run_span(run: ToolRun, position: int) -> bytes:
    """Name the span of a tool run; `position` among those of its call tells runs apart whose API gives no ids."""
    return tool_span(run.caller, run.id or f"#{position}")


def _chat(key: Key, call: Call, chat: bytes, common: bytes, wall_ns: WallClock) -> bytes:
    times, model = call.times, call.model
    if model is not None:
        model = model[: wire.MAX_TEXT]
    parts = [
        common,
        _sort(call.dialect, call.basis, model, call.replica, call.status, call.reason, call.finish_reason),
        _IS_STREAM(call.is_stream),
        _IS_FINAL(call.is_final),
        _CALL(call.call_id),
        _REQUEST(call.request_id),
        _AGENT(call.agent),
        _TURN(call.turn),
        _INPUT(call.prompt_tokens),
    ]
    if call.agent_name:
        parts.append(_AGENT_NAME(call.agent_name))
    if call.max_tokens is not None:
        parts.append(_MAX_TOKENS(call.max_tokens))
    if call.response_id is not None:
        parts.append(_RESPONSE_ID(call.response_id))
    if call.completion_tokens is not None:
        parts.append(_OUTPUT(call.completion_tokens))
    if call.cached_tokens is not None:
        parts.append(_CACHED(call.cached_tokens))
    if call.is_stream and times.first_token is not None:
        parts.append(_FIRST_CHUNK(times.first_token - times.arrived))
    if times.first_visible is not None:
        parts.append(_FIRST_VISIBLE(times.first_visible - times.arrived))
    if call.links or call.runs or call.client_trace is not None:
        links, deps = _links(key, call)
        parts.append(_DEPS(deps))
        parts.append(links)
    return wire.span(
        wire.place(key.trace_id, key.root_span),
        chat,
        wire.span_name(_operation(call.dialect), model or "unknown", Kind.SERVER),
        wall_ns(times.arrived),
        wall_ns(times.ended),
        b"".join(parts),
        call.reason,
    )


@lru_cache(maxsize=1024)
def _sort(
    dialect: DialectName,
    basis: Basis,
    model: str | None,
    replica: ReplicaId | None,
    status: int | None,
    reason: str,
    finish_reason: str | None,
) -> bytes:
    """What a call shares with most others: eleven attributes at the cost of one, for calls are of few sorts."""
    parts = [_OPERATION(_operation(dialect)), _VLLM, _DIALECT(dialect.value), _BASIS(basis.value)]
    if model is not None:
        parts.append(_MODEL(model))
        if status == 200:
            parts.append(_ANSWERED_BY(model))
    if replica is not None:
        parts.append(_REPLICA(replica))
    if status is not None:
        parts.append(_STATUS(status))
    if reason:
        parts.append(_ERROR(reason))
    if finish_reason is not None:
        parts.append(_FINISH((finish_reason,)))
    return b"".join(parts)


def _operation(dialect: DialectName) -> str:
    return names.COMPLETION if dialect is DialectName.COMPLETIONS else names.CHAT


@lru_cache(maxsize=256)
def _upstream(replica: ReplicaId, number: int, status: int | None, reason: str) -> bytes:
    """What an attempt says."""
    said = _REPLICA(replica) + _ATTEMPT(number)
    if status is not None:
        said += _STATUS(status)
    return said + _ERROR(reason) if reason else said


def _links(key: Key, call: Call) -> tuple[bytes, list[str]]:
    """The call's links as fields of its span, and as texts for backends that drop links."""
    made, deps = b"", []
    for link in call.links:
        span = span_id(link.call_id, Part.CHAT)
        made += wire.link(link.trace_id or key.trace_id, span, link.kind)
        deps.append(f"{span.hex()}:{link.kind}")
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
    said = identity(key.id, key.session) + _TOOL_OPERATION + _TOOL_NAME(run.name) + _INFERRED(run.is_inferred)
    if run.id:
        said += _TOOL_CALL_ID(run.id)
    if how:
        queued_s = 0.0 if run.queued_at is None else run.started_at - run.queued_at
        said += _TOOL_HOW(how) + _TOOL_QUEUE(queued_s) + _TOOL_RUN(run.ended_at - run.started_at)
        said += _TOOL_JOINED(run.has_joined) + _TOOL_SAVED(run.saved_s) + _TOOL_HELD(run.held_s)
        if run.predicted_s is not None:
            said += _TOOL_PREDICTED(run.predicted_s)
    said += wire.link(key.trace_id, span_id(run.caller, Part.CHAT), names.TOOL_CALL)
    where, name = wire.place(key.trace_id, key.root_span), wire.span_name(names.TOOL, run.name)
    return wire.span(where, span, name, wall_ns(run.started_at), wall_ns(run.ended_at), said)


def _tried(attempt: Attempt) -> float:
    """When a failed attempt began."""
    if attempt.placed is not None:
        return attempt.placed
    return attempt.ended if attempt.sent is None else attempt.sent
