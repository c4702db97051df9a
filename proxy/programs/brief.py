"""What is counted of a program that has ended: the few sums of its account that metrics have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import fsum

import msgspec

from turnwise.proxy.programs.causes import CAUSES_OF_CALLS, Cause, seconds
from turnwise.proxy.programs.critical_path import awaits_tools
from turnwise.proxy.programs.ledger import account, is_result, shown_at
from turnwise.proxy.programs.values import Call, LinkKind, ToolRun

_CONTINUE, _REWRITE, _RETRY = LinkKind.CONTINUE, LinkKind.REWRITE, LinkKind.RETRY
_CLIENT, _TOOL_RUN, _PREFILL, _DECODE = Cause.CLIENT, Cause.TOOL_RUN, Cause.PREFILL, Cause.DECODE


class Brief(msgspec.Struct, frozen=True, gc=False):
    """Sums of one program, each as its `Ledger` has it; seconds."""

    makespan_s: float
    ftr_s: float | None
    causes: dict[Cause, float]
    """Of the critical path, those that occur."""
    engine_s: float
    tool_runs: int


def brief(calls: Sequence[Call], started_at: float, final_answer_tools: Collection[str]) -> Brief:
    """Sum up a program by its finished calls, in the order of their ends."""
    found = in_sequence(calls, started_at, final_answer_tools)
    if found is not None:
        return found
    ledger = account(calls, started_at, final_answer_tools, in_short=True)
    return Brief(ledger.makespan_s, ledger.ftr_s, ledger.causes, ledger.engine_s, ledger.tool_runs)


def in_sequence(calls: Sequence[Call], started_at: float, final_answer_tools: Collection[str]) -> Brief | None:
    """Sum up a program all of which is its critical path; None where more may have gone on at once, or there is no call.

    Each call waited for the one before and for nothing else, but tools that this one called and nobody measured, and began when
    it had ended. That is the most common program, and one pass over the times of its calls.
    """
    start = ended = min(started_at, calls[0].times.arrived) if calls else started_at
    client = ran = 0.0
    num_runs = 0
    before: Call | None = None
    parts: list[tuple[float, ...]] = []
    for call in calls:
        arrived, runs = call.times.arrived, call.runs
        gap = arrived - ended
        if before is None:
            if call.links or runs:
                return None
            client = gap
        elif not _follows(call, before):
            return None
        elif gap < 0.0:
            *others, tail = parts[-1]
            if tail < -gap:
                return None
            # Who has read an answer to its end may ask again before the call is over.
            parts[-1] = (*others, tail + gap)
            num_runs += len(runs)
        elif runs:
            num_runs += len(runs)
            run = runs[0]
            is_all = len(runs) == 1 and run.started_at <= ended and arrived <= run.ended_at
            ran_s = gap if is_all else _ran_s(runs, ended, arrived)
            ran += ran_s
            client += gap - ran_s
        elif awaits_tools(before) and call.links[0].kind is not _RETRY:
            ran += gap
        else:
            client += gap
        until = call.times.ended
        if until < arrived or until < ended:
            return None
        ended = until
        parts.append(seconds(call))
        before = call
    if before is None:
        return None
    sums = zip(CAUSES_OF_CALLS, map(fsum, zip(*parts, strict=True)), strict=True)
    causes = {cause: sum_s for cause, sum_s in sums if sum_s}
    engine_s = causes.get(_PREFILL, 0.0) + causes.get(_DECODE, 0.0)
    if client:
        causes[_CLIENT] = client
    if ran:
        causes[_TOOL_RUN] = ran
    ftr_s = None
    for call in reversed(calls):
        if is_result(call, final_answer_tools):
            ftr_s = shown_at(call, final_answer_tools) - start
            break
    return Brief(ended - start, ftr_s, causes, engine_s, num_runs)


def _follows(call: Call, before: Call) -> bool:
    """Whether a call goes on from another, and from nothing else that was measured."""
    if len(call.links) != 1:
        return False
    link, name = call.links[0], before.call_id
    if link.call_id != name or link.program is not None:
        return False
    if link.kind is not _CONTINUE and link.kind is not _REWRITE and link.kind is not _RETRY:
        return False
    for run in call.runs:  # noqa: SIM110 - a generator takes longer than all the rest
        if run.caller != name or not run.is_inferred or run.is_conversation:
            return False
    return True


def _ran_s(runs: Sequence[ToolRun], ended: float, arrived: float) -> float:
    """Of the time between two calls, that in which the first of these runs may have lasted."""
    run = min(runs, key=lambda run: run.started_at)
    return max(0.0, min(run.ended_at, arrived) - max(run.started_at, ended))
