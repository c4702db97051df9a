"""Where the time of a program went: a function of its calls, made when somebody asks (docs/programs.md)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from math import fsum

import msgspec

from turnwise.proxy.programs.causes import Cause, Stretch, segments
from turnwise.proxy.programs.critical_path import Dependencies, awaits_tools
from turnwise.proxy.programs.values import Call, LinkKind

SECONDS_PER_HOUR = 3600.0

RUNNING = "running"
"""Detail of the time in which a call runs that has not ended: what it went to is known once it has."""


_CAUSES = tuple(Cause)


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """Tokens of all calls of a program."""

    prompt: int = 0
    cached: int = 0
    """Of the prompts, as engines reported them."""
    predicted: int = 0
    """Of the prompts, as placement expected them to be cached."""
    completion: int = 0


class Ledger(msgspec.Struct, frozen=True, gc=False):
    """The account of one program; seconds."""

    started_at: float
    """Its first arrival, on the clock of its calls."""
    makespan_s: float
    """From the first arrival to the last end, or to the moment at which the account was made."""
    ftr_s: float | None
    """From the first arrival to the first visible token of the final answer; None while there is none."""
    causes: dict[Cause, float]
    """Seconds of the critical path by cause, those that occur; they sum to the makespan."""
    totals: dict[Cause, float]
    """Seconds of everything by cause, on the path and off it: calls, tool runs, and the waits before them."""
    path: tuple[Stretch, ...]
    """The critical path in order and without holes."""
    slack: dict[str, float]
    """Of each call and tool run off the path: how much longer it could have taken before anything waited for it.

    Where the account is made `in_short` it is left empty, and so are the barriers.
    """
    barriers: dict[str, str]
    """Calls of which nothing says what they waited for, and the call or tool run that they are taken to have waited for."""
    llm_calls: int
    tool_runs: int
    """Runs of tools that are not themselves conversations of the program."""
    forks: int
    """Conversations that a tool call began."""
    engine_s: float
    """Time that replicas spent on it: prefill and decode of every call."""
    cost: float | None
    """`engine_s` at the price of a replica, as if none shared its replica; None where no price is set."""
    tokens: Tokens


def account(
    calls: Sequence[Call],
    started_at: float,
    final_answer_tools: Collection[str],
    now: float | None = None,
    *,
    is_running: bool = False,
    price_per_hour: float = 0.0,
    in_short: bool = False,
) -> Ledger:
    """Account for a program by its finished calls, in the order of their ends.

    `now` extends the account of a live program to the present: what follows the last end is its client's, a tool's where a
    result is awaited, or unattributed where `is_running` says that calls have not ended. It takes one pass and one sort;
    `in_short` leaves out a quarter of the work, what only people look at.
    """
    if len(calls) == 1 and now is None and (call := calls[0]).times.arrived <= started_at and not call.runs and not call.links:
        return _of_one(call, final_answer_tools, price_per_hour)
    start, forks = started_at, 0
    prompt = cached = predicted = completion = 0
    for call in calls:
        start = min(start, call.times.arrived)
        for link in call.links:
            forks += link.kind is LinkKind.SPAWN and link.program is None
        prompt += call.prompt_tokens
        cached += call.cached_tokens or 0
        predicted += call.predicted_tokens
        completion += call.completion_tokens or 0
    waits = Dependencies(calls)
    path = waits.path(start)
    end = path[-1].end if path else start
    if now is not None and now > end:
        path.append(_tail(waits, end, now, is_running=is_running))
        end = now
    totals = _totals(waits, path)
    slack: dict[str, float] = {}
    if not in_short:
        on_path = {stretch.node for stretch in path if not stretch.is_gap or stretch.cause is Cause.TOOL_RUN}
        slack = {name: left for name, left in waits.slack().items() if name not in on_path}
    engine_s = totals.get(Cause.PREFILL, 0.0) + totals.get(Cause.DECODE, 0.0)
    return Ledger(
        start,
        end - start,
        _ftr(calls, start, final_answer_tools),
        _sums(path),
        totals,
        tuple(path),
        slack,
        {} if in_short else waits.barriers(),
        len(calls),
        len(waits.runs),
        forks,
        engine_s,
        engine_s * price_per_hour / SECONDS_PER_HOUR if price_per_hour else None,
        Tokens(prompt, cached, predicted, completion),
    )


def _of_one(call: Call, final_answer_tools: Collection[str], price_per_hour: float) -> Ledger:
    """Account for a program of one call, which is its own critical path: what clients ask on the side, or without an agent."""
    start, path = call.times.arrived, segments(call)
    causes: dict[Cause, float] = {}
    for stretch in path:  # in the order of causes
        causes[stretch.cause] = causes.get(stretch.cause, 0.0) + (stretch.end - stretch.start)
    engine_s = causes.get(Cause.PREFILL, 0.0) + causes.get(Cause.DECODE, 0.0)
    return Ledger(
        start,
        path[-1].end - start if path else 0.0,
        shown_at(call, final_answer_tools) - start if is_result(call, final_answer_tools) else None,
        causes,
        dict(causes),
        tuple(path),
        {} if path else {call.call_id: 0.0},
        {},
        1,
        0,
        0,
        engine_s,
        engine_s * price_per_hour / SECONDS_PER_HOUR if price_per_hour else None,
        Tokens(call.prompt_tokens, call.cached_tokens or 0, call.predicted_tokens, call.completion_tokens or 0),
    )


def final_call(calls: Sequence[Call], final_answer_tools: Collection[str]) -> Call | None:
    """Find the call whose answer is the program's: of those that no sub-agent gave, the final one that ended last."""
    sub_agents: set[int] = set()
    joined: set[str] = set()
    for call in calls:
        for link in call.links:
            if link.kind is LinkKind.JOIN:
                joined.add(link.call_id)
            elif link.kind is LinkKind.SPAWN and link.program is None:
                sub_agents.add(call.agent)
    for call in reversed(calls):
        if is_result(call, final_answer_tools) and call.agent not in sub_agents and call.call_id not in joined:
            return call
    return None


def _ftr(calls: Sequence[Call], start: float, final_answer_tools: Collection[str]) -> float | None:
    call = final_call(calls, final_answer_tools)
    return None if call is None else shown_at(call, final_answer_tools) - start


def is_result(call: Call, final_answer_tools: Collection[str]) -> bool:
    """Whether a call's answer is one to its user."""
    return call.is_final or _final_tool(call, final_answer_tools)


def shown_at(call: Call, final_answer_tools: Collection[str]) -> float:
    """When the first of a final answer could be seen."""
    times = call.times
    shown = None
    if call.is_stream:
        shown = times.first_tool if _final_tool(call, final_answer_tools) else times.first_visible
    return times.ended if shown is None else shown


def _final_tool(call: Call, final_answer_tools: Collection[str]) -> bool:
    if not call.tools or not final_answer_tools or call.reason:
        return False
    for tool in call.tools:  # noqa: SIM110 - a generator takes three times as long
        if tool.name in final_answer_tools:
            return True
    return False


def _tail(waits: Dependencies, end: float, now: float, *, is_running: bool) -> Stretch:
    """What the time since the last end of a live program goes to."""
    if is_running:
        return Stretch("", Cause.UNATTRIBUTED, end, now, RUNNING, is_gap=True)
    brought = {run.caller for _, run in waits.runs}
    waiting = next((call for call in reversed(waits.calls) if awaits_tools(call) and call.call_id not in brought), None)
    if waiting is None:
        return Stretch("", Cause.CLIENT, end, now, is_gap=True)
    return Stretch("", Cause.TOOL_RUN, end, now, ", ".join(tool.name for tool in waiting.tools), is_gap=True)


def _totals(waits: Dependencies, path: Sequence[Stretch]) -> dict[Cause, float]:
    """Sum the time of all nodes and of all that came between; a gap that a tool run explains is in the run's own time."""
    runs = {name for name, _ in waits.runs}
    stretches = [*chain.from_iterable(waits.parts)]
    stretches += [gap for before in waits.before for gap in before.gap if gap.node not in runs]
    stretches += [
        Stretch(name, Cause.TOOL_RUN, run.started_at, max(run.started_at, run.ended_at))
        for name, run in waits.runs
        if run.is_inferred
    ]
    if path and path[0].is_gap:
        stretches.append(path[0])
    if len(path) > 1 and path[-1].is_gap:
        stretches.append(path[-1])
    return _sums(stretches)


def _sums(stretches: Iterable[Stretch]) -> dict[Cause, float]:
    """Seconds by cause, of the causes that occur, in their order."""
    found: defaultdict[Cause, list[float]] = defaultdict(list)
    for stretch in stretches:
        found[stretch.cause].append(stretch.end - stretch.start)
    return {cause: fsum(found[cause]) for cause in _CAUSES if cause in found}
