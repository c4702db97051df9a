"""What the time of one call went to, from its clock t0 to t9."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.proxy.programs.values import Attempt, Call, ToolRun


class Cause(StrEnum):
    """What a stretch of a program's time went to; every one of them has exactly one cause."""

    CLIENT = "client"
    """Nothing here was asked for: the client computed, or its user thought."""
    INGEST = "ingest"
    """A request's body came in and was read."""
    QUEUE = "queue"
    """A call waited to be admitted."""
    ROUTE = "route"
    """A replica was chosen."""
    CONNECT = "connect"
    """The request went out, attempts that failed before included."""
    PREFILL = "prefill"
    """The replica had the request, and no token had come."""
    DECODE = "decode"
    """Tokens came; all of an answer that comes in one piece, where the engine does not tell its parts."""
    TAIL = "tail"
    """After the last byte, until all was written and the call was over."""
    TOOL_QUEUE = "tool_queue"
    """A tool run waited for its turn at the gateway."""
    TOOL_RUN = "tool_run"
    """A tool ran, or a client held a tool call whose result had not come."""
    JOIN_WAIT = "join_wait"
    """A sub-agent had answered, and the call that brings its answer had not come."""
    UNATTRIBUTED = "unattributed"


QUEUED = "queued"
"""Detail of that part of prefill in which the engine says that the call waited for its turn."""
COMPUTED = "computed"
"""Detail of that part of prefill in which the engine says that it computed."""


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """A stretch of a program's time with one cause; seconds on the clock of its calls."""

    node: str
    """The call or tool run whose time it is; of a gap, the one that came after it, or empty at the end."""
    cause: Cause
    start: float
    end: float
    detail: str = ""
    """`queued` or `computed` of a prefill whose engine tells, which attempt failed, which tool ran; else empty."""
    is_gap: bool = False
    """Whether nothing measured ran: the time between two nodes."""
    is_inferred: bool = False
    """Whether what it waited for is not known, and is taken to be what ended last before it."""


# An attribute of an enumeration takes as long as a call, and a program has seven of these for each of its own.
_INGEST, _QUEUE, _ROUTE, _CONNECT = Cause.INGEST, Cause.QUEUE, Cause.ROUTE, Cause.CONNECT
_PREFILL, _DECODE, _TAIL = Cause.PREFILL, Cause.DECODE, Cause.TAIL


CAUSES_OF_CALLS = (_INGEST, _QUEUE, _ROUTE, _CONNECT, _PREFILL, _DECODE, _TAIL)


def segments(call: Call) -> list[Stretch]:
    """Divide a call's time from its arrival to its end, in order and without holes; empty stretches are left out.

    A moment that never came gives its time to the stretch that waited for it.
    """
    name, ended, start = call.call_id, call.times.ended, call.times.arrived
    found = []
    for cause, until, detail in _cuts(call):
        end = until if until < ended else ended  # noqa: FURB136 - `min` takes three times as long
        if end > start:
            found.append(Stretch(name, cause, start, end, detail))
            start = end
    return found


def seconds(call: Call) -> tuple[float, ...]:
    """How long each of `CAUSES_OF_CALLS` lasted in a call; the sums of its `segments`."""
    times = call.times
    read, admitted, placed, sent, token = times.read, times.admitted, times.placed, times.sent, times.first_token
    arrived, ended = times.arrived, times.ended
    last_byte = ended if times.last_byte is None else times.last_byte
    if sent is not None and not call.attempts and (call.engine is None or call.is_stream):
        if token is None:
            token = last_byte
        elif not call.is_stream:
            token = sent
        if arrived <= read <= admitted <= placed <= sent <= token <= last_byte <= ended:
            # What nearly all calls are, without the stretches between.
            return (
                read - arrived,
                admitted - read,
                placed - admitted,
                sent - placed,
                token - sent,
                last_byte - token,
                ended - last_byte,
            )
    found = dict.fromkeys(CAUSES_OF_CALLS, 0.0)
    for stretch in segments(call):
        found[stretch.cause] += stretch.end - stretch.start
    return tuple(found.values())


def run_segments(name: str, run: ToolRun) -> tuple[Stretch, ...]:
    """Divide a tool run's time: the wait for its turn, where it is known, and the run, which may be empty."""
    started, ended = run.started_at, max(run.started_at, run.ended_at)
    ran = Stretch(name, Cause.TOOL_RUN, started, ended, run.name)
    if run.queued_at is None or run.queued_at >= started:
        return (ran,)
    return (Stretch(name, Cause.TOOL_QUEUE, run.queued_at, started, run.name), ran)


def _cuts(call: Call) -> list[tuple[Cause, float, str]]:
    """Until when each cause lasts, in order; the last is the call's end."""
    times = call.times
    sent, token, ended = times.sent, times.first_token, times.ended
    cuts = [(_INGEST, times.read, "")]
    if call.attempts:
        cuts.append((_QUEUE, min(times.admitted, _placed(call.attempts[0])), ""))
        for attempt in call.attempts:
            cuts.append((_ROUTE, _placed(attempt), ""))
            cuts.append((_CONNECT, attempt.ended, f"attempt {attempt.number} at {attempt.replica}: {attempt.reason}"))
    else:
        cuts.append((_QUEUE, times.admitted, ""))
    cuts.append((_ROUTE, times.placed, ""))
    if sent is None:
        cuts.append((_CONNECT, ended, ""))
        return cuts
    cuts.append((_CONNECT, sent, ""))
    last_byte = ended if times.last_byte is None else times.last_byte
    if call.engine is not None:
        limit = last_byte if token is None or not call.is_stream else token
        queued_until = min(sent + call.engine.queued_s, limit)
        cuts.append((_PREFILL, queued_until, QUEUED))
        cuts.append((_PREFILL, min(queued_until + call.engine.prefill_s, limit), COMPUTED))
    if token is None:
        cuts.append((_PREFILL, last_byte, ""))
    elif call.is_stream:
        cuts.append((_PREFILL, token, ""))
    if token is not None:
        cuts.append((_DECODE, last_byte, ""))
    cuts.append((_TAIL, ended, ""))
    return cuts


def _placed(attempt: Attempt) -> float:
    """When an attempt began."""
    if attempt.placed is not None:
        return attempt.placed
    return attempt.ended if attempt.sent is None else attempt.sent
