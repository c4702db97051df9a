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


class Segment(msgspec.Struct, frozen=True, gc=False):
    """A stretch of one call; seconds on the clock of its `Times`."""

    cause: Cause
    start: float
    end: float
    detail: str = ""
    """`queued` or `computed` of a prefill whose engine tells, which attempt failed, else empty."""


def segments(call: Call) -> list[Segment]:
    """Divide a call's time from its arrival to its end, in order and without holes; empty ones are left out.

    A moment that never came gives its time to the stretch that waited for it.
    """
    ended = call.times.ended
    found = []
    start = call.times.arrived
    for cause, until, detail in _cuts(call):
        end = min(until, ended)
        if end > start:
            found.append(Segment(cause, start, end, detail))
            start = end
    return found


def run_segments(run: ToolRun) -> tuple[Segment, ...]:
    """Divide a tool run's time: the wait for its turn, where it is known, and the run, which may be empty."""
    started, ended = run.started_at, max(run.started_at, run.ended_at)
    ran = Segment(Cause.TOOL_RUN, started, ended, run.name)
    if run.queued_at is None or run.queued_at >= started:
        return (ran,)
    return (Segment(Cause.TOOL_QUEUE, run.queued_at, started, run.name), ran)


def _cuts(call: Call) -> list[tuple[Cause, float, str]]:
    """Until when each cause lasts, in order; the last is the call's end."""
    times = call.times
    admitted = times.admitted
    if call.attempts:
        admitted = min(admitted, _placed(call.attempts[0]))
    cuts = [(Cause.INGEST, times.read, ""), (Cause.QUEUE, admitted, "")]
    for attempt in call.attempts:
        cuts.append((Cause.ROUTE, _placed(attempt), ""))
        cuts.append((Cause.CONNECT, attempt.ended, f"attempt {attempt.number} at {attempt.replica}: {attempt.reason}"))
    cuts.append((Cause.ROUTE, times.placed, ""))
    sent, token = times.sent, times.first_token
    if sent is None:
        cuts.append((Cause.CONNECT, times.ended, ""))
        return cuts
    cuts.append((Cause.CONNECT, sent, ""))
    last_byte = times.ended if times.last_byte is None else times.last_byte
    if call.engine is not None:
        limit = last_byte if token is None or not call.is_stream else token
        queued_until = min(sent + call.engine.queued_s, limit)
        cuts.append((Cause.PREFILL, queued_until, QUEUED))
        cuts.append((Cause.PREFILL, min(queued_until + call.engine.prefill_s, limit), COMPUTED))
    if token is None:
        cuts.append((Cause.PREFILL, last_byte, ""))
    else:
        if call.is_stream:
            cuts.append((Cause.PREFILL, token, ""))
        cuts.append((Cause.DECODE, last_byte, ""))
    cuts.append((Cause.TAIL, times.ended, ""))
    return cuts


def _placed(attempt: Attempt) -> float:
    """When an attempt began."""
    if attempt.placed is not None:
        return attempt.placed
    return attempt.ended if attempt.sent is None else attempt.sent
